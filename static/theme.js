// Loaded before the first paint: the viewer's choice of colours, else the system's.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const apply = () => { document.documentElement.dataset.theme = stored() ?? (system.matches ? "dark" : "light"); };
  system.addEventListener("change", apply);
  apply();
})();
