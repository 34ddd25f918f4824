// The static tables of a page: a click on a heading sorts. And what every script below needs.
const data = JSON.parse(document.getElementById("data").textContent);
const sortKey = (text) => {
  const match = /^[\[+]?(-?[\d,.]+(?:e-?\d+)?)([kM]?)/.exec(text);
  if (!match) return text;
  return parseFloat(match[1].replaceAll(",", "")) * ({ k: 1024, M: 1048576 }[match[2]] || 1);
};
const order = (x, y) => typeof x === typeof y ? (x > y) - (x < y) : typeof x === "number" ? -1 : 1;
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = table.querySelectorAll("th");
  heads.forEach((head, column) => {
    const sort = () => {
      const up = head.dataset.order !== "up";
      heads.forEach((other) => { delete other.dataset.order; other.removeAttribute("aria-sort"); });
      head.dataset.order = up ? "up" : "down";
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => sortKey(row.cells[column].textContent);
      const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
      rows.sort(([x], [y]) => up ? order(x, y) : -order(x, y));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    };
    head.tabIndex = 0;
    head.title = "sort";
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
// The list of contents marks the section that is read.
const contents = new Map([...document.querySelectorAll("#contents a")]
  .map((link) => [link.getAttribute("href").slice(1), link]));
if (contents.size) {
  const mark = () => {
    const read = [...contents.keys()].filter((name) =>
      document.getElementById(name).getBoundingClientRect().top < innerHeight / 3);
    const now = read.at(-1) || contents.keys().next().value;
    for (const [name, link] of contents) {
      const is = name === now;
      if (is && link.getAttribute("aria-current") === null && link.parentElement.parentElement.scrollTo) {
        const list = link.parentElement.parentElement; // a row of links on a narrow screen
        list.scrollTo({ left: link.offsetLeft - list.clientWidth / 3 });
      }
      if (is) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
  };
  addEventListener("scroll", mark, { passive: true });
  mark();
}
