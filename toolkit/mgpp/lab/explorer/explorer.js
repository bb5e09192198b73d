// The explorer: controls, the sentence and the panels, kept together by one state. `mount` is used by the page and by
// the notebook's widget; the default export is what anywidget asks for.

const SLIDERS = [
  ["lam", "λ, weight of the slab", -12, -0.05],
  ["spike_var", "σ0², spike variance", -14, -1],
  ["slab_var", "σ1², slab variance", -4, 2],
  ["learning_rate", "learning rate, one step", -7, -1],
  ["n", "n, training examples", 2, 7],
];
const SETTINGS = SLIDERS.map(([key]) => key);
const KEYS = [...SETTINGS, "source", "step", "layer", "kind", "follow"];
const FOLLOW = "follow the run’s own prior";

const fill = (select, pairs) => select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));

const choice = (key, label) => `<label>${label}<select name="${key}" aria-label="${label}"></select></label>`;

const slider = ([key, label, low, high]) => `<div class="slider">
  <label><span>${label}</span><input type="range" name="${key}" min="${low}" max="${high}" step="0.05"></label>
  <input type="text" name="${key}-text" inputmode="decimal" aria-label="${label}, typed"></div>`;

const PAGE = `
  <div class="sliders">${SLIDERS.map(slider).join("")}</div>
  <div class="choices">
    ${choice("preset", "settings")}${choice("source", "weights")}${choice("layer", "layer")}${choice("kind", "kind")}
    <div class="steps">
      <label><span>step <b></b></span><input type="range" name="step" aria-label="step" min="0" step="1"></label>
      <button type="button" name="play">▶ play</button>
      <label class="check"><input type="checkbox" name="follow"> <span>${FOLLOW}</span></label>
    </div>
  </div>
  <p class="sentence" role="status"></p>
  <div class="panels"><div></div><div></div></div>
  <p class="python"><code></code><button type="button" name="copy">copy this line of Python</button></p>`;

/** Builds the explorer in `host`. `changed(state)` is called when a change is complete; returns {set, close}. */
export function mount(host, { presets, sources, bytes }, state, changed = () => {}) {
  for (const source of sources) source.edges = source.edges.map((edge) => edge ?? Infinity);
  host.classList.add("mgpp-explorer");
  host.setAttribute("role", "group");
  host.setAttribute("aria-label", "Explorer of the mixture Gaussian prior");
  host.innerHTML = PAGE;
  const named = Object.fromEntries([...host.querySelectorAll("[name]")].map((element) => [element.name, element]));
  const find = (name) => named[name];
  const shown = {}; // what the sliders say
  for (const control of Object.values(named)) control.dataset.lmSuppressShortcuts = "true"; // JupyterLab takes keys otherwise
  const pictures = panels(...host.querySelectorAll(".panels > div"));
  let source, weights, histogram, playing, tallest;

  const moment = () => source.rows.find(({ step }) => step === state.step) ?? source.rows.at(-1);

  function chooseSource() {
    source = sources.find(({ name }) => name === state.source) ?? sources[0];
    state.source = source.name;
    const unique = (index) => [...new Set(source.targets.map((target) => target[index]))];
    const words = (text) => String(text).replaceAll("_", " ");
    fill(find("layer"), [["", "all"], ...unique(0).sort((a, b) => a - b).map((k) => [k, k])]);
    fill(find("kind"), [["", "all"], ...unique(1).map((k) => [k, words(k)])]);
    if (!unique(0).map(String).includes(state.layer)) state.layer = "";
    if (!unique(1).includes(state.kind)) state.kind = "";
    find("step").max = source.rows.length - 1;
    host.querySelector(".steps").hidden = source.rows.length < 2;
    tallest = Math.max(...source.rows.map((_, row) => Math.max(...density(select(source, bytes, row, "", "")).shares)));
  }

  function chooseWeights() {
    if (source?.name !== state.source) chooseSource();
    const row = source.rows.indexOf(moment());
    state.step = source.rows[row].step;
    weights = select(source, bytes, row, state.layer, state.kind);
    histogram = density(weights);
    const tall = Math.max(tallest, ...histogram.shares);
    histogram.tallest = Number(tall.toPrecision(1)) < tall ? tall : Number(tall.toPrecision(1));
  }

  const letGo = () => (state.follow &&= !(moment().lam > 0)); // one's own setting ends the following of a run

  function followRun() {
    if (!state.follow) return;
    for (const key of SETTINGS) if (moment()[key] > 0) state[key] = Number(moment()[key].toPrecision(3));
    if (source.n) state.n = source.n;
  }

  function show() {
    for (const [key] of SLIDERS) {
      if (shown[key] === state[key]) continue;
      shown[key] = state[key];
      find(key).value = Math.log10(state[key]);
      find(key).setAttribute("aria-valuetext", digits(state[key]));
      find(`${key}-text`).value = plain(state[key]);
      find(`${key}-text`).setAttribute("aria-invalid", "false");
    }
    for (const key of ["source", "layer", "kind"]) find(key).value = state[key];
    const hasPrior = moment().lam > 0;
    find("follow").checked = state.follow && hasPrior;
    find("follow").disabled = !hasPrior;
    host.querySelector(".check span").textContent = hasPrior ? FOLLOW : "this run has no prior of its own";
    const row = source.rows.indexOf(moment());
    find("step").value = row;
    const phase = { warmup: ", warm-up", pruning: ", pruning", frozen: ", mask frozen" }[moment().phase] ?? "";
    host.querySelector(".steps b").textContent = `${state.step}${phase}`;
    find("step").setAttribute("aria-valuetext", `${state.step}${phase}`);
    find("preset").value = presets.findIndex((each) => Object.entries(each.settings).every(([key, value]) => state[key] === value));
    pictures.draw(state, moment(), histogram);
    host.querySelector(".sentence").textContent = sentence(state, weights, moment());
    host.querySelector("code").textContent = mixture(state).problem ? "" : pythonLine(state);
  }

  function play(on) {
    clearInterval(playing);
    playing = on ? setInterval(() => stepTo((source.rows.indexOf(moment()) + 1) % source.rows.length), 250) : undefined;
    host.querySelector(".sentence").setAttribute("aria-live", on ? "off" : "polite");
    find("play").textContent = on ? "❚❚ pause" : "▶ play";
  }

  function stepTo(row) {
    state.step = source.rows[row].step;
    followRun();
    chooseWeights();
    show();
  }

  function input({ target }) {
    const key = target.name;
    if (key === "step") return stepTo(Number(target.value));
    if (target.type !== "range") return;
    letGo();
    state[key] = Number((10 ** target.value).toPrecision(3));
    show();
  }

  function change({ target }) {
    const key = target.name;
    if (key.endsWith("-text")) typed(key.replace("-text", ""), target);
    else if (key === "preset") Object.assign(state, presets[target.value]?.settings), letGo();
    else if (["source", "layer", "kind"].includes(key)) state[key] = target.value;
    else if (key === "follow") state.follow = target.checked;
    if (key === "source") {
      play(false);
      state.step = undefined;
    }
    if (target.type !== "range") {
      chooseWeights();
      if (key === "source" || key === "follow") followRun();
      show();
    }
    changed({ ...state }); // of a slider everything was shown while it moved
  }

  function typed(key, target) {
    const value = Number(target.value);
    const fits = target.value.trim() !== "" && value > 0 && (key !== "lam" || value < 1) && Number.isFinite(value);
    target.setAttribute("aria-invalid", String(!fits));
    if (!fits) return;
    letGo();
    state[key] = key === "n" ? Math.max(1, Math.round(value)) : value;
    target.value = plain(state[key]);
  }

  async function copy() {
    const code = host.querySelector("code");
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      find("copy").textContent = "copied";
    } catch {
      find("copy").textContent = "selected: copy it with your keyboard"; // pages from disk may not write the clipboard
    }
    setTimeout(() => (find("copy").textContent = "copy this line of Python"), 2000);
  }

  fill(find("preset"), [[-1, "your own"], ...presets.map(({ label }, i) => [i, label])]);
  fill(find("source"), sources.map(({ name, label }) => [name, label]));
  host.addEventListener("input", input);
  host.addEventListener("change", change);
  find("copy").addEventListener("click", copy);
  find("play").addEventListener("click", () => {
    play(playing === undefined);
    changed({ ...state });
  });
  const set = (values) => {
    const moved = source && SETTINGS.some((key) => values[key] !== state[key]);
    Object.assign(state, values);
    chooseWeights();
    if (moved) letGo();
    followRun();
    show();
    changed({ ...state }); // a step or source that does not exist became one that does
  };
  set({});
  return { set, close: () => play(false) };
}

const stateOf = (model) => Object.fromEntries(KEYS.map((key) => [key, model.get(key)]));

async function render({ model, el }) {
  const bytes = await gunzip(model.get("counts"));
  let own = false; // changes that come from here are shown already
  const view = mount(el, { ...JSON.parse(model.get("header")), bytes }, stateOf(model), (state) => {
    own = true;
    for (const key of KEYS) model.set(key, state[key]);
    own = false;
    model.save_changes();
  });
  for (const key of KEYS) model.on(`change:${key}`, () => own || view.set(stateOf(model)));
  return view.close;
}

export default { render };
