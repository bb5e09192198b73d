// Pictures as files: SVG as it is drawn, or PNG three times as fine.

const LOOK = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "paint-order", "font-family", "font-size", "font-weight", "opacity"];

/** A picture that looks the same without the page's style sheet. */
function standingAlone(svg) {
  const copy = svg.cloneNode(true);
  const [from, to] = [svg, copy].map((each) => [...each.querySelectorAll("*")]);
  to.forEach((element, i) => {
    const look = getComputedStyle(from[i]);
    for (const name of LOOK) element.style.setProperty(name, look.getPropertyValue(name));
  });
  for (const element of copy.querySelectorAll(".pointer, .grip, [d=''], image:not([width])")) element.remove();
  const { width, height } = svg.viewBox.baseVal;
  for (const [name, value] of Object.entries({ xmlns: SVG, width, height })) copy.setAttribute(name, value);
  copy.style.background = getComputedStyle(svg.closest(".mgpp-explorer")).backgroundColor;
  return new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
}

async function asPng(blob, { width, height }) {
  const image = Object.assign(new Image(), { src: URL.createObjectURL(blob) });
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: 3 * width, height: 3 * height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((done) => canvas.toBlob(done));
}

/** Hands a picture to the browser as a file named after its title; `kind` is svg or png. */
export async function save(svg, kind) {
  const name = svg.querySelector("title").textContent.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const drawn = standingAlone(svg);
  const blob = kind === "png" ? await asPng(drawn, svg.viewBox.baseVal) : drawn;
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${name}.${kind}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
