// A panel: one SVG with axes, marks and names. It is made once and then only changed. One SVG unit is one CSS pixel.

const EDGE = { left: 54, right: 10, top: 24, bottom: 34 };
const SVG = "http://www.w3.org/2000/svg";

/** Elements of a group by key, made once and then only changed: the browser has far less to do than with new ones. */
function kept(group, tag) {
  const known = new Map();
  return (key, attributes, text) => {
    if (!known.has(key)) known.set(key, [group.appendChild(document.createElementNS(SVG, tag)), {}]);
    const [element, last] = known.get(key);
    for (const [name, value] of Object.entries(attributes)) {
      if (last[name] !== value) element.setAttribute(name, (last[name] = value));
    }
    if (text !== undefined && last.text !== text) element.textContent = last.text = text;
  };
}

/** The fixed parts of a panel, by the class they are found with. */
const skeleton = (title, xLabel, yLabel, id) => `<svg role="img"><title>${title}</title>
  <clipPath id="${id}"><rect x="${EDGE.left}" y="${EDGE.top}"/></clipPath>
  <text class="title" x="${EDGE.left}" y="13">${title}</text>
  <text class="label across" text-anchor="middle">${xLabel}</text><text class="label upward" text-anchor="middle">${yLabel}</text>
  <g clip-path="url(#${id})"><image preserveAspectRatio="none"/></g><g class="axes"><path class="frame"/></g><g class="marks" clip-path="url(#${id})"></g><g class="names"></g>
  <path class="pointer"/><path class="grip"/></svg>`;

/** The entry of a legend. */
export const legendKey = ([style, text]) => `<span class="key ${style}"><svg viewBox="0 0 22 10" aria-hidden="true"><path class="${style}" d="${
  style.endsWith("box") ? "M3 1H19V9H3Z" : "M0 5H22"}"/></svg>${text}</span>`;

/**
 * An empty panel in `host`. `draw({x, y, marks, words, read, grip})` takes scales, marks [key, class, path] in a fixed order,
 * words [class, text, x, y, anchor], what a place reads as, and where a line can be gripped. `drag(value, released)` is
 * called while that line is dragged, `pick(value, released)` while any other place is pressed.
 */
export function panel(host, { title: first, height, xLabel, yLabel, drag, pick }) {
  let title = first;
  const id = `mgpp-clip-${Math.random().toString(36).slice(2)}`; // two explorers may stand on one page
  host.insertAdjacentHTML("beforeend", skeleton(first, xLabel, yLabel, id));
  const svg = host.lastElementChild;
  const part = (name) => svg.querySelector(name);
  const [line, number] = ["path", "text"].map((tag) => kept(part(".axes"), tag));
  const [mark, word] = [kept(part(".marks"), "path"), kept(part(".names"), "text")];
  const [across, upward] = [[EDGE.left, 0], [height - EDGE.bottom, EDGE.top]];
  let last = {};

  function fit() {
    const width = Math.max(host.clientWidth, 240);
    if (across[1] === width - EDGE.right) return;
    across[1] = width - EDGE.right;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    part(".frame").setAttribute("d", `M${EDGE.left} ${EDGE.top}V${upward[0]}H${across[1]}`);
    part("rect").setAttribute("width", across[1] - EDGE.left);
    part("rect").setAttribute("height", upward[0] - EDGE.top);
    part(".across").setAttribute("transform", `translate(${(EDGE.left + across[1]) / 2} ${height - 3})`);
    part(".upward").setAttribute("transform", `translate(12 ${(EDGE.top + upward[0]) / 2}) rotate(-90)`);
  }

  const below = (at, text, i) => {
    line(`x${i}`, { d: text === "" ? "" : `M${at} ${upward[0]}v3` });
    number(`x${i}`, { x: at, y: upward[0] + 14, "text-anchor": "middle" }, text);
  };
  const beside = (at, text, i) => {
    line(`y${i}`, { d: text === "" ? "" : `M${EDGE.left} ${at}H${across[1]}`, class: "grid" });
    number(`y${i}`, { x: EDGE.left - 5, y: at + 4, "text-anchor": "end" }, text);
  };
  const ticks = (scale, put) => {
    for (let i = 0; i < 14; i++) put(...(scale.ticks[i] ? [Math.round(scale(scale.ticks[i][0])), scale.ticks[i][1]] : [0, ""]), i);
  };

  /** Puts an image, of an address that holds its bytes, behind the marks of the whole panel. */
  function behind(address) {
    if (address === (last.address ?? "")) return;
    const [left, top] = [EDGE.left, EDGE.top];
    const place = { href: address, x: left, y: top, width: across[1] - left, height: upward[0] - top };
    for (const [name, value] of Object.entries(place)) part("image").setAttribute(name, value);
  }

  function draw({ x, y, marks, words = [], read, grip = "", address = "" }) {
    behind(address);
    last = { x, read, address };
    ticks(x, below);
    ticks(y, beside);
    for (const [key, style, d] of marks) mark(key, { class: style, d });
    words.forEach(([style, text, at = 0, height = 0, anchor = "start"], i) =>
      word(i, { class: `name ${style}`, x: Math.round(at), y: Math.round(height), "text-anchor": anchor }, text),
    );
    part(".grip").setAttribute("d", grip);
  }

  function entitle(text) {
    if (text === title) return;
    title = part("title").textContent = part("text.title").textContent = text;
  }

  /** Where the pointer is, as a value of x; undefined outside the axes. */
  function place(event) {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    return at >= across[0] && at <= across[1] ? [at, last.x.back(at)] : [];
  }

  function hover(event) {
    const [at, value] = event.type === "pointerleave" ? [] : place(event);
    part(".pointer").setAttribute("d", at && last.read ? `M${at.toFixed(1)} ${upward[0]}V${EDGE.top}` : "");
    part("text.title").textContent = at && last.read ? last.read(value) : title;
    part("text.title").classList.toggle("reading", Boolean(at && last.read));
  }

  let held; // what is called while the pointer is pressed
  function press(event) {
    held = drag && event.target === part(".grip") ? drag : pick;
    if (!held) return;
    svg.setPointerCapture(event.pointerId);
    event.preventDefault();
    move(event);
  }
  function move(event) {
    const [, value] = place(event);
    if (value !== undefined) held?.(value, false);
    hover(event);
  }
  function release() {
    held?.(undefined, true);
    held = undefined;
  }
  svg.classList.toggle("picks", Boolean(pick));
  svg.addEventListener("pointerdown", press);
  svg.addEventListener("pointermove", move);
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, release);
  svg.addEventListener("pointerleave", hover);
  return { svg, across, upward, fit, draw, entitle };
}
