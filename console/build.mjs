// Builds the page into the Python package. The same sources and lock file give the same bytes.
import {build} from "esbuild";
import {copyFile, mkdir, readFile, writeFile} from "node:fs/promises";
import {dirname, join} from "node:path";
import {fileURLToPath} from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "..", "postage", "cli", "console", "assets");
await mkdir(target, {recursive: true});

const {metafile} = await build({
  absWorkingDir: here,
  entryPoints: {console: "src/main.jsx"},
  outdir: target,
  bundle: true,
  minify: true,
  metafile: true,
  format: "iife",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none", // LICENSES.txt has them all
});
for (const name of ["index.html", "favicon.svg"]) await copyFile(join(here, "src", name), join(target, name));
await writeFile(join(target, "LICENSES.txt"), await licences(Object.keys(metafile.inputs)));

// The licences of exactly those packages whose code is in the bundle.
async function licences(inputs) {
  const found = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  const parts = ["Postage's console contains these packages.\n"];
  for (const name of [...new Set(found.filter(Boolean))].sort()) {
    const folder = join(here, "node_modules", name);
    const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const text = await readFile(join(folder, "LICENSE"), "utf8");
    parts.push(`${name} ${about.version} (${about.license})\n\n${text.trim()}\n`);
  }
  return parts.join(`\n${"-".repeat(72)}\n\n`);
}
