// Open links to web pages in a new tab of the browser. JupyterLab's own viewer would show them without their scripts.

function followInNewTab(event) {
  const link = event.target.closest("a[href]");
  if (!link || !new URL(link.href).pathname.endsWith(".html")) return;
  link.target = "_blank";
  event.stopPropagation(); // JupyterLab does not see the click, so the browser follows the link
}

const plugin = {
  id: "open-pages:plugin",
  autoStart: true,
  activate: () => document.addEventListener("click", followInNewTab, { capture: true }),
};

// what JupyterLab asks of an extension that is already built
window._JUPYTERLAB = window._JUPYTERLAB ?? {};
window._JUPYTERLAB["open-pages"] = { init: () => {}, get: async () => () => plugin };
