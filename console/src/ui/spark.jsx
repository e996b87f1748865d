import {POINTS} from "../store.js";
import {memo} from "./memo.js";

const WIDTH = 120, HEIGHT = 24;

// The line of the last ten minutes, and below it the share that failed.  Points that are not known leave a gap.
export const Spark = memo(({points, label}) => {
  const values = (points ?? []).slice(-POINTS);
  const rates = values.map((each) => (Array.isArray(each) ? each[0] : each)), errors = values.map((each) => (Array.isArray(each) ? each[1] : null));
  const most = Math.max(1e-9, ...rates.filter(Number.isFinite));
  return <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} preserveAspectRatio="none" role="img" aria-label={label}>
    <path class="rest" d={`M0 ${HEIGHT - 1}H${WIDTH}`} />
    <path class="line" d={lineOf(rates, most)} />
    {errors.some((each) => each > 0) && <path class="errors" d={lineOf(errors, most)} />}
  </svg>;
});

export function lineOf(values, most) {
  const first = POINTS - values.length;
  let path = "", isGap = true;
  values.forEach((value, at) => {
    if (!Number.isFinite(value) || value < 0) return void (isGap = true);
    const x = ((first + at) / (POINTS - 1)) * WIDTH, y = HEIGHT - 2 - Math.min(1, value / most) * (HEIGHT - 4);
    path += `${isGap ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    isGap = false;
  });
  return path;
}
