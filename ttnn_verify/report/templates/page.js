// Tables that are sorted by a heading and filtered by words and choices; words that explain
// themselves on hover and on focus.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const controls = document.querySelector(`.filter[data-for="${table.id}"]`);
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

  const filter = (words, choices, count) => {
    const searched = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden =
        choices.some((one) => one.value && row.dataset[one.dataset.key] !== one.value) ||
        !searched.every((w) => text.includes(w));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length}`;
  };

  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button")?.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const first = heading.dataset.first ?? "descending"; // the worst come first
      sort(heading, now ? now !== "ascending" : first === "ascending");
    });
  }
  if (controls) {
    const words = controls.querySelector("input");
    const choices = [...controls.querySelectorAll("select")];
    const again = () => filter(words, choices, controls.querySelector(".count"));
    words.addEventListener("input", again);
    for (const one of choices) one.addEventListener("change", again);
    again();
  }
}

// Without this script a word's `title` shows by itself, on hover alone.
const says = document.createElement("div");
says.id = "says";
says.setAttribute("role", "tooltip");
says.hidden = true;
document.body.append(says);

const hide = () => { says.hidden = true; };
for (const word of document.querySelectorAll("abbr[title]")) {
  word.dataset.says = word.title;
  word.removeAttribute("title");
  const reached = word.closest("button") ?? word; // what has the focus
  reached.setAttribute("aria-describedby", "says");
  const show = () => {
    says.textContent = word.dataset.says;
    says.hidden = false;
    const at = word.getBoundingClientRect();
    const left = Math.min(at.left, document.documentElement.clientWidth - says.offsetWidth - 8);
    const below = at.bottom + 6 + says.offsetHeight < window.innerHeight;
    says.style.left = `${Math.max(8, left)}px`;
    says.style.top = `${below ? at.bottom + 6 : at.top - says.offsetHeight - 6}px`;
  };
  word.addEventListener("mouseenter", show);
  word.addEventListener("mouseleave", hide);
  reached.addEventListener("focus", show);
  reached.addEventListener("blur", hide);
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
document.addEventListener("scroll", hide, true);
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
