// Panels: SVG drawn from settings and weights. Colours and fonts stand in explorer.css.

const WIDTH = 430;
const EDGE = { left: 58, right: 10, top: 24, bottom: 36 };
const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

const power = (exponent) => (exponent === 0 ? "1" : `10${[...String(exponent)].map((c) => SUPERSCRIPTS[c]).join("")}`);

/** A scale: value -> pixel, with its ticks. */
function linear([low, high], [from, to], count = 4) {
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => unit * factor >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9); k++) ticks.push([k * step, tickText(k * step)]);
  return Object.assign((v) => from + ((v - low) / (high - low)) * (to - from), { ticks, low, high });
}

const tickText = (v) => (v === 0 ? "0" : String(Number(v.toPrecision(3))).replace(/e(.*)/, (_, e) => `·${power(Number(e))}`));

function logarithmic([low, high], [from, to], every = 1) {
  const [a, b] = [Math.log10(low), Math.log10(high)];
  const ticks = [];
  for (let k = Math.ceil(a); k <= b + 1e-9; k += every) ticks.push([10 ** k, power(k)]);
  return Object.assign((v) => from + ((Math.log10(v) - a) / (b - a)) * (to - from), { ticks, low, high });
}

const clamp = (y) => Math.min(Math.max(y, -2000), 4000).toFixed(1);

export const path = (xs, ys, x, y) => xs.map((v, i) => `${i ? "L" : "M"}${x(v).toFixed(1)} ${clamp(y(ys[i]))}`).join("");

/** Elements of a group by key, made once and then only changed: the browser has far less to do than with new ones. */
function kept(group, tag) {
  const known = new Map();
  return (key, attributes, text) => {
    if (!known.has(key)) known.set(key, [group.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag)), {}]);
    const [element, last] = known.get(key);
    for (const [name, value] of Object.entries(attributes)) {
      if (last[name] !== value) element.setAttribute(name, (last[name] = value));
    }
    if (text !== undefined && last.text !== text) element.textContent = last.text = text;
  };
}

/** An empty panel in `host`. `draw(x, y, marks, words)` takes scales, {style: path} in a fixed order, and labels. */
function panel(host, { title, height, xLabel, yLabel }) {
  const [right, bottom] = [WIDTH - EDGE.right, height - EDGE.bottom];
  const id = `mgpp-clip-${Math.random().toString(36).slice(2)}`; // two explorers may stand on one page
  host.insertAdjacentHTML(
    "beforeend",
    `<svg viewBox="0 0 ${WIDTH} ${height}" role="img"><title>${title}</title>
      <clipPath id="${id}"><rect x="${EDGE.left}" y="${EDGE.top}" width="${right - EDGE.left}" height="${bottom - EDGE.top}"/></clipPath>
      <text class="title" x="${EDGE.left}" y="12">${title}</text>
      <text class="label" x="${(EDGE.left + right) / 2}" y="${height - 4}" text-anchor="middle">${xLabel}</text>
      <text class="label" transform="translate(11 ${(EDGE.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${yLabel}</text>
      <g class="axes"><path d="M${EDGE.left} ${EDGE.top}V${bottom}H${right}"/></g>
      <g class="marks" clip-path="url(#${id})"></g><g class="names"></g></svg>`,
  );
  const svg = host.lastElementChild;
  const [axes, marks, names] = svg.querySelectorAll("g");
  const [line, number, mark, word] = [kept(axes, "path"), kept(axes, "text"), kept(marks, "path"), kept(names, "text")];
  const below = (at, text, i) => {
    line(`x${i}`, { d: text === "" ? "" : `M${at} ${bottom}v3` });
    number(`x${i}`, { x: at, y: bottom + 13, "text-anchor": "middle" }, text);
  };
  const beside = (at, text, i) => {
    line(`y${i}`, { d: text === "" ? "" : `M${EDGE.left} ${at}H${right}`, class: "grid" });
    number(`y${i}`, { x: EDGE.left - 5, y: at + 3, "text-anchor": "end" }, text);
  };
  const ticks = (scale, put) => {
    for (let i = 0; i < 12; i++) put(...(scale.ticks[i] ? [Math.round(scale(scale.ticks[i][0])), scale.ticks[i][1]] : [0, ""]), i);
  };
  return {
    svg,
    across: [EDGE.left, right],
    upward: [bottom, EDGE.top],
    draw(x, y, paths, words = []) {
      ticks(x, below);
      ticks(y, beside);
      for (const [style, d] of Object.entries(paths)) mark(style, { class: style, d });
      for (const [style, text, at, height, anchor = "start"] of words) {
        word(style, { class: `name ${style}`, x: Math.round(at), y: Math.round(height), "text-anchor": anchor }, text);
      }
    },
  };
}

const MAGNITUDES = Array.from({ length: 141 }, (_, i) => 10 ** (-7 + i / 20)); // the logarithmic axis of three panels
const BOTH_SIDES = [...MAGNITUDES.map((w) => -w).reverse(), 0, ...MAGNITUDES];
const REACH = [1e-7, 1];

/** The points of the axis, and more of them where the spike ends, if it does. */
function finely(tau) {
  const edge = tau > 0 ? Array.from({ length: 31 }, (_, i) => tau * 2 ** ((i - 15) / 20)) : [];
  return [...MAGNITUDES, ...edge].filter((w) => w >= REACH[0] && w <= REACH[1]).sort((a, b) => a - b);
}

/** Share of the weights per decade of |θ| around each point of the axis, zeros apart. */
export function density(weights) {
  const counts = MAGNITUDES.map((w) => countBelow(weights, w));
  const shares = counts.slice(1).map((count, i) => (20 * (count - counts[i])) / weights.total);
  return { lefts: MAGNITUDES.slice(0, -1), shares };
}

const upright = (x, at, [bottom, top]) => (at >= x.low && at <= x.high ? `M${x(at).toFixed(1)} ${bottom}V${top}` : "");

/** The five panels; `draw(settings, moment, histogram)` shows a state. */
export function panels(left, right) {
  const wide = panel(left, { title: "Penalty R(θ) − R(0), over the range of weights", height: 270, xLabel: "weight θ", yLabel: "penalty" });
  const close = panel(left, { title: "The same, close to zero", height: 270, xLabel: "weight θ", yLabel: "penalty" });
  const pull = panel(right, { title: "How far one step pulls a weight towards zero", height: 196, xLabel: "", yLabel: "move of one step" });
  const spike = panel(right, { title: "Spike probability", height: 160, xLabel: "", yLabel: "p₀(θ)" });
  const bars = panel(right, { title: "Real weights", height: 184, xLabel: "magnitude |θ|", yLabel: "share per decade" });

  function drawPenalty(target, prior, reach) {
    const near = Array.from({ length: 161 }, (_, i) => (i / 80 - 1) * reach);
    const all = [...near, ...BOTH_SIDES.filter((w) => Math.abs(w) < reach / 40)].sort((a, b) => a - b);
    const zero = prior.penalty(0);
    const ys = all.map((w) => prior.penalty(w) - zero);
    const x = linear([-reach, reach], target.across);
    const y = linear([0, Math.max(ys[0] * 1.08, 1e-6)], target.upward, 5);
    const tau = [-1, 1].map((sign) => upright(x, sign * prior.threshold, target.upward));
    const word = tau[1] ? "τ" : "";
    target.draw(x, y, { tau: tau.join(""), curve: path(all, ys, x, y) }, [["tau", word, word ? x(prior.threshold) + 4 : 0, EDGE.top + 10]]);
  }

  const thresholds = (x, target, settings, prior, moment) => ({
    tau: upright(x, prior.threshold, target.upward),
    step: upright(x, settings.learning_rate, target.upward),
    cut: upright(x, moment.pruning_threshold ?? NaN, target.upward),
  });

  function drawPull(settings, prior, moment) {
    const x = logarithmic(REACH, pull.across);
    const y = logarithmic([1e-11, 1e1], pull.upward, 3);
    const { learning_rate, n } = settings;
    const sizes = finely(prior.threshold);
    const moves = sizes.map((w) => (learning_rate * prior.penaltyGrad(w)) / n);
    const paths = thresholds(x, pull, settings, prior, moment);
    paths.step += `M${x(REACH[0])} ${y(learning_rate).toFixed(1)}H${x(REACH[1])}`;
    pull.draw(x, y, { ...paths, whole: path(REACH, REACH, x, y), curve: path(sizes, moves, x, y) }, [
      ["whole", "as far as zero", x(1) - 4, y(1) + 22, "end"],
      ["step", "Adam: about the learning rate", x(1) - 4, y(learning_rate) - 4, "end"],
      ["curve", "plain gradient", x(1) - 4, Math.min(y(moves.at(-1)) + 16, pull.upward[0] - 4), "end"],
    ]);
  }

  function drawSpike(settings, prior, moment) {
    const x = logarithmic(REACH, spike.across);
    const y = linear([0, 1.05], spike.upward, 2);
    const sizes = finely(prior.threshold);
    const curve = path(sizes, sizes.map(prior.spikeProbability), x, y);
    spike.draw(x, y, { ...thresholds(x, spike, settings, prior, moment), curve });
  }

  function drawBars(settings, prior, moment, { lefts, shares, tallest }) {
    const x = logarithmic(REACH, bars.across);
    const y = linear([0, tallest * 1.15], bars.upward, 3);
    const floor = bars.upward[0];
    const tau = Number.isNaN(prior.threshold) ? (prior.spikeProbability(0) > 0.5 ? Infinity : 0) : prior.threshold;
    const bar = (w, i) => `M${x(w).toFixed(1)} ${floor}V${clamp(y(shares[i]))}H${x(w * 10 ** 0.05).toFixed(1)}V${floor}`;
    const shape = (inside) => lefts.map((w, i) => (shares[i] > 0 && w < tau === inside ? bar(w, i) : "")).join("");
    const lines = [
      ["tau", "prior threshold τ", prior.threshold],
      ["step", "one step", settings.learning_rate],
      ["cut", "pruning threshold", moment.pruning_threshold],
    ];
    const words = lines.map(([style, text, at], i) => {
      if (!(at >= REACH[0] && at <= REACH[1])) return [style, "", 0, 0];
      const leftward = x(at) > 240;
      return [style, text, x(at) + (leftward ? -4 : 4), EDGE.top + 10 + 12 * i, leftward ? "end" : "start"];
    });
    bars.draw(x, y, { spike: shape(true), slab: shape(false), ...thresholds(x, bars, settings, prior, moment) }, words);
  }

  return {
    draw(settings, moment, histogram) {
      const prior = mixture(settings);
      for (const { svg } of [wide, close, pull, spike]) svg.classList.toggle("stale", Boolean(prior.problem));
      const shown = prior.problem ? { threshold: NaN, spikeProbability: () => NaN } : prior;
      drawBars(settings, shown, moment, histogram);
      if (prior.problem) return;
      drawPenalty(wide, prior, 0.5);
      drawPenalty(close, prior, Math.min(Number.isNaN(prior.threshold) ? 0.01 : 3 * prior.threshold, 0.999));
      drawPull(settings, prior, moment);
      drawSpike(settings, prior, moment);
    },
  };
}
