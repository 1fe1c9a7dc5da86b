// The table of comparisons: sorted by a column's heading, filtered by words and by tier.
const table = document.querySelector("#comparisons");

if (table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const words = document.querySelector("#words");
  const tier = document.querySelector("#tier");
  const count = document.querySelector("#count");

  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim().toLowerCase();
    return "value" in cell.dataset && text !== "" ? Number(text) : text;
  };

  const sort = (heading, ascending) => {
    const column = heading.cellIndex;
    rows.sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      if (x === y) return 0;
      if (x === "" || y === "") return x === "" ? 1 : -1; // what has no figure stays last
      return (x < y ? -1 : 1) * (ascending ? 1 : -1);
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows);
  };

  const filter = () => {
    const searched = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden =
        (tier.value && row.dataset.tier !== tier.value) || !searched.every((w) => text.includes(w));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length}`;
  };

  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button").addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const first = heading.dataset.first ?? "descending"; // the worst come first
      sort(heading, now ? now !== "ascending" : first === "ascending");
    });
  }
  words.addEventListener("input", filter);
  tier.addEventListener("change", filter);
  filter();
}
