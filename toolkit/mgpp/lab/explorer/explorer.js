// The explorer: controls, sentences and pictures, kept together by one state. `mount` is used by the page and by the
// notebook's widget; the default export is what anywidget asks for.

const SLIDERS = [
  ["lam", "λ, weight of the slab", -12, -0.05],
  ["spike_var", "σ0², spike variance", -14, -1],
  ["slab_var", "σ1², slab variance", -4, 2],
  ["learning_rate", "learning rate, one step", -7, -1],
  ["n", "n, training examples", 2, 7],
];
const KEYS = [...SETTINGS, "source", "step", "layer", "kind", "follow", "compare"];
const PHASES = { warmup: ", warm-up", pruning: ", pruning", frozen: ", frozen" };

const fill = (select, pairs) => select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));

const choice = (key, label) => `<label>${label}<select name="${key}" aria-label="${label}"></select></label>`;

const slider = ([key, label, low, high]) => `<div class="slider">
  <label><span>${label}</span><input type="range" name="${key}" min="${low}" max="${high}" step="0.05"></label>
  <input type="text" name="${key}-text" inputmode="decimal" aria-label="${label}, typed"></div>`;

const LEGEND = [
  ["spike box", "spike: |θ| < τ"], ["slab box", "slab"], ["tau", "prior threshold τ (drag it)"], ["cut", "pruning threshold"],
  ["step", "one optimizer step"], ["curve", "A"], ["curve b", "B"],
];

const titleOf = (svg) => svg.querySelector("title").textContent;

const PAGE = `
  <details class="controls" open><summary>Controls</summary>
  <div class="compare"><button type="button" name="compare" aria-pressed="false">compare A with B</button>
    <span class="which" hidden>the controls change <button type="button" name="edit-a">A</button><button type="button" name="edit-b">B</button></span>
    <button type="button" name="reset">reset</button><button type="button" name="tour">new here? a tour of five stops</button></div>
  <div class="sliders">${SLIDERS.map(slider).join("")}</div>
  <div class="choices">
    ${choice("preset", "settings")}${choice("source", "weights")}${choice("layer", "layer")}${choice("kind", "kind")}
    <div class="steps">
      <label><span>step <b></b></span><input type="range" name="step" aria-label="step" min="0" step="1"></label>
      <button type="button" name="play">▶ play</button>
    </div>
    <label class="check"><input type="checkbox" name="follow"> <span>follow the run</span></label>
  </div></details>
  <div class="tour" role="region" aria-label="tour" hidden><p aria-live="polite"></p><button type="button" name="tour-next">next</button>
    <button type="button" name="tour-end">end the tour</button></div>
  <p class="sentence" role="status"></p>
  <p class="other" hidden></p><p class="differences" hidden></p>
  <p class="legend">${LEGEND.map(legendKey).join("")}</p>
  <div class="panels"><div></div><div></div></div><div class="training"></div>
  <p class="python"><code></code><button type="button" name="copy">copy this line of Python</button></p>
  <p class="save">${choice("picture", "save the picture")}<button type="button" name="svg">as SVG</button><button type="button" name="png">as PNG</button></p>`;

/** Builds the explorer in `host`. `changed(state)` is called when a change is complete; returns {set, close}. */
export function mount(host, { presets, sources, bytes, start }, state, changed = () => {}) {
  for (const source of sources) source.edges = source.edges.map((edge) => edge ?? Infinity);
  host.classList.add("mgpp-explorer");
  host.setAttribute("role", "group");
  host.setAttribute("aria-label", "Explorer of the mixture Gaussian prior");
  host.innerHTML = PAGE;
  const find = (name) => named[name];
  const part = (selector) => host.querySelector(selector);
  const named = Object.fromEntries([...host.querySelectorAll("[name]")].map((element) => [element.name, element]));
  for (const control of Object.values(named)) control.dataset.lmSuppressShortcuts = "true"; // JupyterLab takes keys otherwise
  const drawn = pictures(...host.querySelectorAll(".panels > div"), dragTau);
  const training = strip(part(".training"), pickStep);
  const panels = [...drawn.all, ...training.all];
  const viewers = [viewer(sources, bytes), viewer(sources, bytes)];
  const past = histories(bytes);
  let playing, resting, stop, edits = "a";
  let wrong = {}; // what is wrong with a typed text, by setting
  let listed; // the source whose layers and kinds the lists hold

  const side = () => (edits === "b" ? state.compare : state);
  const sourceOf = ({ source }) => sources.find(({ name }) => name === source);
  /** Tells that a change is complete; of a slider when it rests, as each new address costs the browser milliseconds. */
  function done(rest = 0) {
    clearTimeout(resting);
    if (rest) resting = setTimeout(done, rest);
    else changed(structuredClone(state));
  }

  /** A height that holds the bars of all steps, so that the axis stays while a run is played. */
  function height(views) {
    const tall = Math.max(...views.filter(Boolean).flatMap((view) => [past(view.source).tallest, ...view.histogram]));
    return Number(tall.toPrecision(1)) < tall ? tall : Number(tall.toPrecision(1));
  }

  /** Settles both sides and shows them. */
  function show() {
    for (const each of [state, state.compare]) if (each) settle(each, sources);
    if (!state.compare) edits = "a";
    const views = [state, state.compare].map((each, i) => each && viewers[i](each));
    const view = views[edits === "b" ? 1 : 0];
    showControls(view);
    const typed = Object.values(wrong)[0];
    const problem = typed ?? views.map((each) => each?.penalty.problem).find(Boolean);
    for (const { svg } of panels) svg.classList.toggle("stale", Boolean(problem));
    if (!problem) draw(views, view);
    part(".training").hidden = view.source.rows.length < 2;
    listPictures(view.source.rows.length < 2 ? drawn.all : panels);
    showWords(problem, views, view);
  }

  function draw(views, view) {
    drawn.draw(views, height(views));
    if (view.source.rows.length > 1) training.draw(view, past(view.source, view.side.layer, view.side.kind), state.compare && edits);
  }

  function showControls({ source, row, moment, settings }) {
    const of = side();
    const fixed = settings.kind !== "MGP";
    for (const [name] of SLIDERS) {
      const [range, text] = [find(name), find(`${name}-text`)];
      range.disabled = text.disabled = fixed && ["lam", "spike_var", "slab_var"].includes(name);
      range.value = Math.log10(of[name]);
      range.setAttribute("aria-valuetext", digits(of[name]));
      if (!(name in wrong)) text.value = range.disabled ? "" : plain(of[name]);
      text.setAttribute("aria-invalid", String(name in wrong));
    }
    if (listed !== source) list(source);
    for (const name of ["source", "layer", "kind"]) find(name).value = of[name];
    find("follow").checked = of.follow;
    find("follow").disabled = !isRun(source);
    find("step").value = row;
    const phase = moment.sparsity > 0 || moment.phase === "warmup" ? (PHASES[moment.phase] ?? "") : "";
    part(".steps b").textContent = `${of.step}${phase}`;
    find("step").setAttribute("aria-valuetext", `${of.step}${phase}`);
    const same = ([name, value]) => of[name] === value;
    find("preset").value = fixed ? -1 : presets.findIndex((each) => Object.entries(each.settings).every(same));
    find("compare").textContent = state.compare ? "close B" : "compare A with B";
    find("compare").setAttribute("aria-pressed", String(Boolean(state.compare)));
    part(".which").hidden = !state.compare;
    for (const which of ["a", "b"]) find(`edit-${which}`).setAttribute("aria-pressed", String(edits === which));
    host.classList.toggle("two", Boolean(state.compare));
  }

  function listPictures(shown) {
    const titles = shown.map(({ svg }) => titleOf(svg));
    const [list, { value }] = [find("picture"), find("picture")];
    if (titles.join() === [...list.options].map(({ text }) => text).join()) return;
    fill(list, titles.map((title, i) => [i, title]));
    list.value = value in titles ? value : 0;
  }

  function list(source) {
    const unique = (index) => [...new Set(source.targets.map((target) => target[index]))];
    fill(find("layer"), [["", "all"], ...unique(0).sort((a, b) => a - b).map((k) => [k, k])]);
    fill(find("kind"), [["", "all"], ...unique(1).map((k) => [k, String(k).replaceAll("_", " ")])]);
    find("step").max = source.rows.length - 1;
    part(".steps").hidden = source.rows.length < 2;
    listed = source;
  }

  function showWords(problem, views, view) {
    const [a, b] = views;
    part(".sentence").textContent = problem || `${b ? "A: " : ""}${sentence(a)}`;
    part(".other").textContent = problem || !b ? "" : `B: ${sentence(b)}`;
    part(".differences").textContent = problem || !b ? "" : differences(a, b);
    for (const name of [".other", ".differences"]) part(name).hidden = Boolean(problem) || !b;
    part("code").textContent = problem ? "" : pythonLine(view.settings);
    find("copy").disabled = part("code").textContent === "";
  }

  function play(on) {
    clearInterval(playing);
    playing = on ? setInterval(next, 250) : undefined;
    part(".sentence").setAttribute("aria-live", on ? "off" : "polite");
    find("play").textContent = on ? "❚❚ pause" : "▶ play";
  }

  /** The following step, of both sides if both are runs. */
  function next() {
    for (const each of [state, state.compare].filter(Boolean)) {
      const { rows } = sourceOf(each);
      each.step = rows[(rows.findIndex(({ step }) => step === each.step) + 1) % rows.length].step;
    }
    show();
  }

  /** Sets numbers by hand, which ends the following of a run. */
  function choose(values) {
    Object.assign(side(), values, { follow: false });
    for (const name of Object.keys(values)) delete wrong[name];
  }

  function input({ target }) {
    if (target.name === "step") side().step = sourceOf(side()).rows[target.value].step;
    else if (target.type === "range") choose({ [target.name]: rounded(target.name, 10 ** target.value) });
    else return;
    show();
  }

  const rounded = (name, value) => Number((name === "n" ? Math.round(value) : value).toPrecision(3));

  function change({ target }) {
    const name = target.name;
    if (name.endsWith("-text")) typed(name.replace("-text", ""), target.value);
    else if (name === "preset") choose(presets[target.value]?.settings ?? {});
    else if (name === "source") takeSource(target.value);
    else if (["layer", "kind"].includes(name)) side()[name] = target.value;
    else if (name === "follow") (side().follow = target.checked), (wrong = {});
    const slid = target.type === "range"; // everything was shown while it moved
    if (!slid) show();
    if (!Object.keys(wrong).length) done(slid ? 200 : 0);
  }

  function takeSource(name) {
    play(false);
    wrong = {};
    Object.assign(side(), { source: name, follow: true }); // at the same step, if it is logged
  }

  function typed(name, text) {
    const problem = problemTyped(name, text);
    delete wrong[name]; // the last one typed is told first
    if (problem) wrong = { [name]: problem, ...wrong };
    else choose({ [name]: Number(text) });
  }

  function dragTau(tau, released) {
    if (released) return done();
    const spike_var = spikeVarianceFor(tau, side());
    if (!(spike_var >= 1e-14 && spike_var <= 0.1)) return;
    choose({ spike_var: Number(spike_var.toPrecision(3)) });
    show();
  }

  function pickStep(step, released) {
    if (released) return done();
    side().step = nearest(sourceOf(side()).rows, step).step;
    show();
  }

  async function copy() {
    getSelection().selectAllChildren(part("code"));
    try {
      await navigator.clipboard.writeText(part("code").textContent);
      find("copy").textContent = "copied";
    } catch {
      find("copy").textContent = "selected: copy it with your keyboard"; // pages from disk may not write the clipboard
    }
    setTimeout(() => (find("copy").textContent = "copy this line of Python"), 2000);
  }

  function compare() {
    const { compare: other, ...one } = state;
    state.compare = other ? null : structuredClone(one);
    edits = state.compare ? "b" : "a";
  }

  const guide = tour(host);
  const chosenPicture = () => panels[find("picture").value].svg;
  /** What changes nothing of the state. */
  const ACTS = {
    copy,
    tour: () => (stop = guide(0)),
    "tour-next": () => (stop = guide(stop + 1)),
    "tour-end": () => (stop = guide(-1)),
    svg: () => save(chosenPicture(), "svg"),
    png: () => save(chosenPicture(), "png"),
  };
  const CLICKS = {
    play: () => play(playing === undefined),
    compare,
    "edit-a": () => (edits = "a"),
    "edit-b": () => (edits = "b"),
    reset: () => (play(false), Object.assign(state, structuredClone(start))),
  };

  fill(find("preset"), [[-1, "your own"], ...presets.map(({ label }, i) => [i, label])]);
  fill(find("source"), sources.map(({ name, label }) => [name, label]));
  host.addEventListener("input", input);
  host.addEventListener("change", change);
  for (const [name, act] of Object.entries(ACTS)) find(name).addEventListener("click", act);
  for (const [name, act] of Object.entries(CLICKS)) {
    find(name).addEventListener("click", () => {
      act();
      wrong = {};
      show();
      done();
    });
  }
  let width;
  const fit = () => {
    if (host.clientWidth === width) return;
    const narrow = (width = host.clientWidth) < 620;
    if (narrow !== host.classList.contains("narrow")) part("details").open = !narrow;
    host.classList.toggle("narrow", narrow);
    for (const each of panels) each.fit();
    show();
  };
  const watching = new ResizeObserver(fit);
  watching.observe(host);
  /** Takes values from outside. Numbers of one's own end the following of a run, another run begins it. */
  const set = (values, whole = false) => {
    const differs = (name) => name in values && values[name] !== state[name];
    const follow = whole || differs("follow") ? values.follow : differs("source") || (state.follow && !SETTINGS.some(differs));
    Object.assign(state, values, { follow });
    wrong = {};
    show();
    done(); // a step or source that does not exist became one that does
  };
  fit();
  show();
  done();
  return { set, close: () => (play(false), clearTimeout(resting), watching.disconnect()) };
}

const stateOf = (model) => Object.fromEntries(KEYS.map((key) => [key, structuredClone(model.get(key))]));

async function render({ model, el }) {
  const bytes = await gunzip(model.get("counts"));
  let own = false; // changes that come from here are shown already
  const view = mount(el, { ...JSON.parse(model.get("header")), bytes, start: stateOf(model) }, stateOf(model), (state) => {
    own = true;
    for (const key of KEYS) model.set(key, state[key]);
    own = false;
    model.save_changes();
  });
  for (const key of KEYS) model.on(`change:${key}`, () => own || view.set(stateOf(model)));
  return view.close;
}

export default { render };
