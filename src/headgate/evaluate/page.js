// A click on a column's head sorts its table: numbers by value, words by the alphabet; a second click turns it round.
document.documentElement.classList.add("js");
for (const head of document.querySelectorAll("th")) {
  head.tabIndex = 0;
  const sort = () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const value = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent;
    const order = (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
    const numeric = (a, b) => Number(value(a)) - Number(value(b));
    const numbers = [...body.rows].every((row) => !Number.isNaN(Number(value(row))));
    const rows = [...body.rows].sort(numbers ? numeric : order);
    body.append(...(up ? rows : rows.reverse()));
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
}
