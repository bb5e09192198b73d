// Scales: value -> pixel, with the way back and with ticks.

const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

const power = (exponent) => (exponent === 0 ? "1" : `10${[...String(exponent)].map((c) => SUPERSCRIPTS[c]).join("")}`);

const tickText = (v) => (v === 0 ? "0" : String(Number(v.toPrecision(3))).replace(/e(.*)/, (_, e) => `·${power(Number(e))}`));

export function linear([low, high], [from, to], count = 4, text = tickText) {
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => unit * factor >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9); k++) ticks.push([k * step, text(k * step)]);
  const back = (pixel) => low + ((pixel - from) / (to - from)) * (high - low);
  return Object.assign((v) => from + ((v - low) / (high - low)) * (to - from), { ticks, low, high, back });
}

export function logarithmic([low, high], [from, to], every = 1) {
  const [a, b] = [Math.log10(low), Math.log10(high)];
  const ticks = [];
  for (let k = Math.ceil(a); k <= b + 1e-9; k += every) ticks.push([10 ** k, power(k)]);
  const back = (pixel) => 10 ** (a + ((pixel - from) / (to - from)) * (b - a));
  return Object.assign((v) => from + ((Math.log10(v) - a) / (b - a)) * (to - from), { ticks, low, high, back });
}

/** A linear scale that holds all values, with some room. */
export function around(values, place, count) {
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const room = 0.05 * (high - low || Math.abs(high) || 1);
  return linear([low - room, high + room], place, count);
}

const clamp = (y) => Math.min(Math.max(y, -2000), 4000).toFixed(1);

/** An SVG path through points; it is interrupted where a value is NaN. */
export function path(xs, ys, x, y) {
  let pen = "M";
  return xs
    .map((v, i) => {
      if (Number.isNaN(ys[i])) return (pen = "M"), "";
      const point = `${pen}${x(v).toFixed(1)} ${clamp(y(ys[i]))}`;
      pen = "L";
      return point;
    })
    .join("");
}

/** A vertical line at a value; "" if it lies outside. */
export const upright = (x, at, [bottom, top]) => (at >= x.low && at <= x.high ? `M${x(at).toFixed(1)} ${bottom}V${top}` : "");
