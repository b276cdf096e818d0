// Before anything is painted: the theme that was chosen last, if the browser remembers one for this file.
try {
  const chosen = localStorage.getItem("theodolite-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (error) {
  // Storage may be closed to local files; the theme then follows the system.
}
