// What a node is, as a line drawing on a grid of 16.  A Map, as kinds come from peers.
export const GLYPHS = new Map(Object.entries({
  service: "M8 1.800l5.400 3.100v6.200L8 14.200l-5.400-3.100V4.900zM2.900 5 8 8l5.100-3M8 8v6",
  application: "M2.500 3h11v10h-11zM2.500 6h11",
  processor: "M4.500 4.500h7v7h-7zM6.500 1.500v3M9.500 1.500v3M6.500 11.500v3M9.500 11.500v3M1.500 6.500h3M1.500 9.500h3M11.500 6.500h3M11.500 9.500h3",
  program: "M2.500 3.500 7 8l-4.500 4.500M8 12.500h5.500",
  exchange: "M2.500 5.500h10M10 3l2.500 2.500L10 8M13.500 10.500h-10M6 8l-2.500 2.500L6 13",
  group: "M2.500 2.500h4.500v4.500h-4.500zM9 2.500h4.500v4.500h-4.500zM2.500 9h4.500v4.500h-4.500zM9 9h4.500v4.500h-4.500z",
}));

export const glyphOf = (kind) => GLYPHS.get(kind) ?? GLYPHS.get("processor");
