"use strict";
// Nothing here is needed to read the page: it copies commands, filters tables and sorts them.
for (const code of document.querySelectorAll(".command code")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", () => {
    const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
    const select = () => { const range = document.createRange(); range.selectNodeContents(code); const all = getSelection(); all.removeAllRanges(); all.addRange(range); };
    if (navigator.clipboard) { navigator.clipboard.writeText(code.textContent).then(done, select); } else { select(); }
  });
  code.after(button);
}
for (const box of document.querySelectorAll(".filter")) {
  const table = document.getElementById(box.dataset.table);
  const input = box.querySelector("input");
  const told = box.querySelector("output");
  if (!table || !input) { continue; }
  box.hidden = false;
  const rows = Array.from(table.tBodies[0].rows);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    told.textContent = words.length ? shown + " of " + rows.length : "";
  });
}
for (const table of document.querySelectorAll("table.sorted")) {
  Array.from(table.tHead.rows[0].cells).forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = cell.textContent;
    let up = false;
    button.addEventListener("click", () => {
      up = !up;
      const value = (row) => row.cells[column].dataset.sort || row.cells[column].textContent;
      const order = (a, b) => value(a).localeCompare(value(b), "en", { numeric: true }) * (up ? 1 : -1);
      table.tBodies[0].append(...Array.from(table.tBodies[0].rows).sort(order));
      for (const other of table.tHead.rows[0].cells) { other.removeAttribute("aria-sort"); }
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
    cell.replaceChildren(button);
  });
}
