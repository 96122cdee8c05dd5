// In the head, before anything is drawn: a theme that was chosen must not flash up in the other one first.
try {
  const chosen = localStorage.getItem("headgate.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  /* storage is refused to this page: it follows the system */
}
