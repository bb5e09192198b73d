// Runs while they train: two of a folder's runs, A and B, in the pictures of the explorer. `watchIn` is used by the
// page; the default export is what anywidget asks for.

const BOARD = `
  <div class="choices"><label>run A<select name="a"></select></label><label>run B<select name="b"></select></label></div>
  <p class="folder" role="status"></p>
  <p class="sentence"></p><p class="other"></p>
  <p class="legend">${[["curve", "A"], ["curve b", "B"], ["tau", "prior threshold τ"], ["cut", "pruning threshold"]].map(legendKey).join("")}</p>
  <div class="panels">${"<div></div>".repeat(6)}</div>`;

/** Builds the board in `host`; `choose([a, b])` is called with the names of the runs. Returns {show, lost, close}. */
export function watchIn(host, choose) {
  host.classList.add("mgpp-explorer", "watch");
  host.setAttribute("role", "group");
  host.setAttribute("aria-label", "Runs while they train");
  host.innerHTML = BOARD;
  const part = (selector) => host.querySelector(selector);
  const selects = [part("[name=a]"), part("[name=b]")];
  const drawn = boards([...host.querySelectorAll(".panels > div")]);
  let listed, last;

  function list({ runs }, chosen) {
    const now = JSON.stringify([runs, chosen]);
    if (now === listed) return; // an open list stays open
    listed = now;
    const names = runs.map(({ name, status }) => new Option(`${name}, ${status}`, name));
    for (const [i, select] of selects.entries()) {
      select.replaceChildren(new Option(i ? "the next" : "the newest", ""), new Option("none", "-"), ...names.map((each) => each.cloneNode(true)));
      select.value = chosen[i];
    }
  }

  function show(state, chosen) {
    list(state, chosen);
    last = state.shown;
    part(".folder").textContent = ofFolder(state);
    last.forEach((run, i) => (part([".sentence", ".other"][i]).textContent = run ? `${"AB"[i]}: ${ofRun(run)}` : ""));
    host.classList.toggle("two", Boolean(last[1]));
    draw();
  }

  function draw() {
    part(".panels").hidden = !last?.some((run) => run?.last);
    for (const each of drawn.all) each.fit();
    if (last && !part(".panels").hidden) drawn.draw(last);
  }

  for (const select of selects) {
    select.dataset.lmSuppressShortcuts = "true";
    select.addEventListener("change", () => choose(selects.map(({ value }) => value)));
  }
  const watching = new ResizeObserver(draw);
  watching.observe(host);
  const lost = () => (part(".folder").textContent = "No answer: mgpp watch has ended, or is busy. What is drawn is what it said last.");
  return { show, lost, close: () => watching.disconnect() };
}

function ofFolder({ folder, exists, deeper, runs }) {
  if (!exists) return `${folder} does not exist yet. Runs appear here as soon as they begin.`;
  if (deeper) return `No run is in ${folder} itself; there are runs in ${deeper}.`;
  if (!runs.length) return `No run is in ${folder} yet. Runs appear here as soon as they begin.`;
  const train = runs.filter(({ status }) => status === "running").length;
  return `${runs.length} ${runs.length === 1 ? "run" : "runs"} in ${folder}, ${train || "none"} in training.`;
}

/** What is known of a run, in words. */
function ofRun({ name, label, status, error, last, steps, curves, score, scores }) {
  const named = label && label !== name ? `${name} (${label})` : name;
  const why = error ? `: ${error}` : "";
  if (!last) return `${named} is ${status}${why}${label ? ", and has logged no step yet" : ""}.`;
  const of = steps ? ` of ${steps.total}` : "";
  const at = (column) => curves[column]?.at(-1);
  const said = [
    at("loss") && `loss ${digits(at("loss")[1])}`,
    score && `${nameOf(score)} ${digits(at(score)[1])} at step ${at(score)[0]}`,
    at("sparsity") && `sparsity ${percent(at("sparsity")[1])}`,
    scores ? "it ranks scores, not magnitudes" : at("pruning_threshold")?.[1] > 0 && `pruning threshold ${digits(at("pruning_threshold")[1])}`,
    at("prior_threshold") ? `prior threshold ${digits(at("prior_threshold")[1])}` : "no prior threshold",
  ];
  const phase = { warmup: "warm-up", pruning: "pruning", frozen: "frozen mask" }[last.phase];
  return `${named} is ${status}${why}. Step ${last.step}${of}${phase ? `, ${phase}` : ""}: ${said.filter(Boolean).join("; ")}.`;
}

const nameOf = (score) => score.replace("eval_", "").replaceAll("_", " ");

/** The six pictures, each in a host of its own. */
function boards(hosts) {
  const make = (title, xLabel, yLabel = "") => panel(hosts.shift(), { title, height: 190, xLabel, yLabel });
  const [loss, score, sparsity, thresholds] = ["Loss", "Score", "Sparsity", "Thresholds"].map((title) => make(title, "training step"));
  const [barsA, barsB] = ["Weights of A", "Weights of B"].map((title) => make(title, "magnitude |θ|", "share per decade"));
  const all = [loss, score, sparsity, thresholds, barsA, barsB];

  /** Curves of both runs; `columns(run)` are [style, column]. */
  function drawCurves(target, runs, columns, scale) {
    const known = runs.map((run) => (run?.curves ? columns(run).map(([style, column]) => [style, column, run.curves[column] ?? []]) : []));
    const values = known.flat().flatMap(([, , points]) => points.map(([, value]) => value));
    const ends = runs.flatMap((run) => [run?.steps?.total, run?.last?.step]).filter((step) => step > 0);
    const x = linear([0, Math.max(1, ...ends)], target.across);
    const y = scale(values, target.upward);
    const shape = (points) => path(points.map(([step]) => step), points.map(([, value]) => (value > 0 || y.low <= 0 ? value : NaN)), x, y);
    const [{ begin, end } = {}] = runs.map((run) => run?.steps).filter(Boolean);
    target.draw({
      x,
      y,
      marks: [
        ["phases", "whole", [begin, end].map((step) => (step > 0 ? upright(x, step, target.upward) : "")).join("")],
        ...[1, 0].flatMap((i) => [0, 1].map((k) => {
          const [style, , points] = known[i][k] ?? ["curve", "", []];
          return [`${i}${k}`, `${style}${i ? " b" : ""}`, shape(points)];
        })),
        ...[1, 0].map((i) => [`dots${i}`, `dot${i ? " b" : ""}`, known[i].flatMap(([, column, points]) => (/^eval_/.test(column) ? points : [])).map(([step, value]) => `M${x(step).toFixed(1)} ${y(value).toFixed(1)}h0`).join("")]),
      ],
      words: [
        ["whole", values.length ? "" : "nothing is logged", target.across[0] + 8, (target.upward[0] + target.upward[1]) / 2],
        ...[[begin, "pruning begins", 0.9], [end, "mask frozen", 0.5]].map(([step, text, at]) => ["whole", target === sparsity && step > 0 ? text : "", x(step ?? 0) + 3, y(at)]),
      ],
      read: (step) => `step ${Math.round(step)}: ${["A", "B"].map((side, i) => known[i].length && `${side} ${known[i].map(([, , points]) => said(points, step)).join(", ")}`).filter(Boolean).join("; ")}`,
    });
  }

  const said = (points, step) => digits(points.findLast(([at]) => at <= step)?.[1] ?? NaN);

  function drawWeights(target, run) {
    const found = run?.histogram;
    target.svg.classList.toggle("gone", !found);
    if (!found) return;
    const weights = cumulated(found.edges.map((edge) => edge ?? Infinity), found.counts);
    const prior = found.moment.lam > 0 ? "MGP" : "none";
    const view = { moment: found.moment, weights, histogram: density(weights), settings: found.moment, penalty: penaltyOf({ ...found.moment, kind: prior }) };
    drawBars(target, [view, null], Math.max(...view.histogram));
  }

  return {
    all,
    draw(runs) {
      drawCurves(loss, runs, () => [["curve", "loss"]], around);
      drawCurves(score, runs, (run) => (run.score ? [["curve", run.score]] : []), around);
      drawCurves(sparsity, runs, () => [["curve", "sparsity"]], (_, place) => linear([0, 1], place));
      drawCurves(thresholds, runs, (run) => [["tau", "prior_threshold"], ...(run.scores ? [] : [["cut", "pruning_threshold"]])], decades);
      const names = [...new Set(runs.flatMap((run) => (run?.score ? [nameOf(run.score)] : [])))];
      score.entitle(names.length ? `Score: ${names.join(" and ")}` : "Score");
      drawWeights(barsA, runs[0]);
      drawWeights(barsB, runs[1]);
    },
  };
}

function decades(values, place) {
  const seen = values.filter((value) => value > 0);
  const [low, high] = seen.length ? [Math.min(...seen), Math.max(...seen)] : [1e-4, 1];
  return logarithmic([10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high) + 1e-9)], place);
}

function render({ model, el }) {
  const view = watchIn(el, (chosen) => (model.set("chosen", chosen), model.save_changes()));
  const show = () => view.show(model.get("state"), model.get("chosen"));
  model.on("change:state", show);
  show();
  return view.close;
}

export default { render };
