"use strict";
// Renders the tables of a page. Texts are untrusted and are inserted as text, never as HTML.

// Tabulator inserts strings as HTML, so it gets elements only.
function element(tag, text, properties = {}) {
  const created = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) created.textContent = text;
  return created;
}

const shown = (value) => (value === null ? "" : String(value));

function tableOf(container, data) {
  const columns = data.columns;
  const rows = data.rows.map((row, number) =>
    Object.assign({ number, row }, ...columns.map((column) => ({ [column.index]: valueOf(column, row) }))));
  const searched = rows.map(({ row }) => row.cells.concat(row.texts).map(shown).join("\n").toLowerCase());
  const wanted = { text: "", values: new Map() };
  const matches = (it) =>
    (!wanted.text || searched[it.number].includes(wanted.text)) &&
    [...wanted.values].every(([column, value]) => it[column] === value);

  const box = container.appendChild(element("div"));
  const table = new Tabulator(box, {
    data: rows,
    index: "number",
    maxHeight: 640,
    layout: "fitColumns",
    responsiveLayout: "hide",
    placeholder: element("span", "No matching rows."),
    columns: columns.map((column, order) => ({
      field: String(column.index),
      title: column.title,
      titleFormatter: () => element("span", column.title),
      formatter: (cell) => cellOf(column, cell.getData(), order === 0),
      sorter: column.kind === "number" ? "number" : "string",
      sorterParams: { alignEmptyValues: "bottom" },
      headerSortStartingDir: column.kind === "number" ? "desc" : "asc",
      headerSortTristate: true,
      resizable: "header", // a handle between cells would take the clicks that open a row
      hozAlign: column.kind === "number" ? "right" : "left",
      minWidth: column.width,
      widthGrow: column.kind === "text" ? 3 : 1,
      responsive: order === 0 ? 0 : column.rank,
    })),
  });
  table.on("rowClick", (_, row) => openRow(data, table, row));
  const controls = controlsOf(columns, wanted, () => table.setFilter(matches));
  container.prepend(controls);
  const count = controls.appendChild(element("output"));
  const showCount = (matching) => {
    count.value = `${matching.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  table.on("tableBuilt", () => showCount(rows.length));
  table.on("dataFiltered", (_, matching) => showCount(matching.length));
}

function valueOf(column, row) {
  const value = row.cells[column.index];
  return column.kind === "text" ? (row.texts[value] ?? null) : value;
}

function cellOf(column, it, opens) {
  const text = shown(it[column.index]);
  if (opens) return element("button", text, { type: "button" });
  if (column.kind !== "text" || !text) return element("span", text, { className: column.kind === "number" ? "number" : "" });
  if (it.row.secret) return element("span", "hidden, click to show", { className: "covered" });
  return element("span", text.slice(0, 300));
}

function controlsOf(columns, wanted, change) {
  const controls = element("div", undefined, { className: "controls" });
  const search = element("input", undefined, { type: "search", placeholder: "in ids, labels and texts" });
  search.addEventListener("input", () => {
    wanted.text = search.value.toLowerCase();
    change();
  });
  controls.append(labelled("Search", search));
  for (const column of columns.filter((it) => it.choices.length)) {
    const select = element("select");
    select.append(element("option", "all", { value: "" }));
    column.choices.forEach((choice, number) => select.append(element("option", choice, { value: String(number) })));
    select.addEventListener("change", () => {
      if (select.value === "") wanted.values.delete(String(column.index));
      else wanted.values.set(String(column.index), column.choices[Number(select.value)]);
      change();
    });
    controls.append(labelled(column.title, select));
  }
  return controls;
}

function labelled(title, control) {
  const label = element("label", title);
  label.append(control);
  return label;
}

const dialog = document.getElementById("row");
let neighbor = () => {};

function openRow(data, table, tableRow) {
  const { row } = tableRow.getData();
  const facts = element("dl");
  for (const column of data.columns.filter((it) => it.kind !== "text")) {
    const value = shown(row.cells[column.index]);
    if (value) facts.append(element("dt", column.title), element("dd", value));
  }
  const content = document.getElementById("row-content");
  content.replaceChildren(facts);
  data.texts.forEach((title, index) => {
    if (row.texts[index]) content.append(textOf(title, row.texts[index], row.secret));
  });
  if (row.history.length) content.append(historyOf(data.history, row.history));
  neighbor = (by) => {
    const rows = table.getRows("active");
    const next = rows[rows.indexOf(tableRow) + by];
    if (next) openRow(data, table, next);
  };
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function textOf(title, text, secret) {
  const body = element("p", text, { className: "text" });
  const part = element(secret ? "details" : "section");
  part.append(secret ? element("summary", `${title}: may be harmful, click to show`) : element("b", title), body);
  return part;
}

function historyOf(headings, lines) {
  const table = element("table");
  const head = table.createTHead().insertRow();
  headings.forEach((heading) => head.append(element("th", heading)));
  const body = table.createTBody();
  for (const line of lines) {
    const row = body.insertRow();
    line.forEach((value) => row.append(element("td", shown(value))));
  }
  const scroll = element("div", undefined, { className: "scroll" });
  scroll.append(table);
  return scroll;
}

dialog?.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
  else if (event.target.value) neighbor(Number(event.target.value));
});

// after the first paint, since the page above the tables needs no script
requestAnimationFrame(() => setTimeout(() => {
  for (const container of document.querySelectorAll(".rows")) {
    tableOf(container, JSON.parse(document.getElementById(`${container.id}-data`).textContent));
  }
}));
