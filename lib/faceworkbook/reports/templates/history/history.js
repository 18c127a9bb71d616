// The history of runs: filter, sort, choose columns, set chosen runs beside each other. Data stands beside it as JSON.
const root = document.querySelector(".history"), data = JSON.parse(root.querySelector("script.runs").textContent);
const table = root.querySelector("table.runs"), head = table.tHead.rows[0], body = table.tBodies[0], rows = [...body.rows];
const runOf = row => data.runs[row.dataset.run], textOf = (row, at) => row.children[at].textContent;
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
const MOST = 100;  // rows that are laid out at once: a filter over 500 runs answers within a tenth of a second
const compare = new Intl.Collator("en", { numeric: true }).compare;
const paramOf = (name, row) => { const own = data.params[name], code = own.codes[row.dataset.run]; return code < 0 ? null : own.values[code]; };

// ---------------------------------------------------------------- choosing runs
const chosen = new Set();
head.prepend(make("td", { class: "text" }, make("span", { class: "unseen" }, "compare")));
for (const row of rows) {
  const box = make("input", { type: "checkbox", "aria-label": `compare ${row.querySelector("th").textContent}`, onchange: () => {
    if (box.checked) chosen.add(row); else chosen.delete(row);
    showCompared();
  } });
  row.prepend(make("td", { class: "text" }, box));
}

// ---------------------------------------------------------------- columns: those of the table, further ones, parameters
const further = {
  question: run => run.question, "seed": run => run.seed, "code": run => run.commit, "seconds": run => String(run.seconds), "tags": run => run.tags.join(", "),
};
const titles = [...head.children].map(th => th.textContent);
const setColumn = (title, text, on) => {
  const at = [...head.children].findIndex(th => th.dataset.title === title);
  if (!on && at >= 0) for (const row of [head, ...rows]) row.children[at].remove();
  if (on && at < 0) {
    head.append(heading(title));
    for (const row of rows) row.append(make("td", { class: "text", "data-label": title }, text(row) ?? "–"));
  }
};
const heading = title => {
  const th = make("th", { scope: "col", class: "text", "data-title": title, "aria-sort": "none" });
  th.append(make("button", { type: "button", onclick: () => sort(th) }, title));
  return th;
};
for (const [at, title] of titles.entries()) if (at) head.children[at].replaceWith(heading(title));
const sort = th => {
  const at = [...head.children].indexOf(th), up = th.getAttribute("aria-sort") !== "ascending", byValue = th.dataset.title === "first figure";
  for (const other of head.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = new Map(rows.map(row => [row, byValue ? runOf(row).value ?? Infinity : textOf(row, at)]));
  const order = byValue ? (a, b) => key.get(a) - key.get(b) : (a, b) => compare(key.get(a), key.get(b));
  rows.sort((a, b) => (up ? 1 : -1) * order(a, b));
  filter();  // before the rows are moved: those that are hidden cost nothing
  body.append(...rows);
};
const differing = among => Object.keys(data.params).filter(name => new Set(among.map(row => data.params[name].codes[row.dataset.run])).size > 1);
const boxFor = (title, text, on = false) => make("label", {}, make("input", { type: "checkbox", checked: on, onchange: event => {
  if (text) setColumn(title, text, event.target.checked);
  else for (const row of [head, ...rows]) row.children[[...head.children].findIndex(th => th.dataset.title === title)].hidden = !event.target.checked;
} }), title);
const columns = make("details", { class: "columns" }, make("summary", {}, "columns"));
const boxes = make("div", { class: "boxes" });
columns.append(boxes);
columns.addEventListener("toggle", () => {
  if (boxes.firstChild) return;
  boxes.append(...titles.slice(2).map(title => boxFor(title, null, true)), ...Object.entries(further).map(([title, of]) => boxFor(title, row => of(runOf(row)))),
    make("p", {}, "Parameters that differ between runs:"), ...differing(rows).map(name => boxFor(name, row => paramOf(name, row))));
});

// ---------------------------------------------------------------- filters
const asked = { text: "" }, at = Object.fromEntries(titles.map((title, k) => [title, k]));
const haystack = new Map(rows.map(row => [row, (row.textContent + " " + runOf(row).question).toLowerCase()]));
const filters = { status: row => [textOf(row, at.status)], "data set": row => [textOf(row, at["data set"])], label: row => [textOf(row, at.label)], tag: row => runOf(row).tags };
const values = Object.fromEntries(Object.entries(filters).map(([name, of]) => [name, new Map(rows.map(row => [row, of(row)]))]));
const count = make("span", { role: "status" });
let most = MOST;
const filter = () => {
  let shown = 0;
  for (const row of rows) {
    const fits = haystack.get(row).includes(asked.text) && Object.keys(filters).every(name => !asked[name] || values[name].get(row).includes(asked[name]));
    shown += fits;
    row.hidden = !fits || shown > most;
  }
  count.textContent = `${shown} of ${rows.length} runs`;
  more.hidden = shown <= most;
  more.textContent = `show the other ${shown - most}`;
};
const more = make("button", { type: "button", class: "more", hidden: true, onclick: () => { most = Infinity; filter(); } });
addEventListener("beforeprint", () => { most = Infinity; filter(); });
const search = make("input", { type: "search", oninput: () => { asked.text = search.value.toLowerCase(); filter(); } });
const selects = Object.keys(filters).map(name => {
  const known = [...new Set([...values[name].values()].flat())].filter(Boolean).sort(compare);
  const list = make("select", { "aria-label": name, onchange: () => { asked[name] = list.value; filter(); } }, make("option", { value: "" }, "all"),
    ...known.map(value => make("option", { value }, value)));
  return known.length > 1 ? make("label", {}, `${name} `, list) : "";
});

// ---------------------------------------------------------------- chosen runs beside each other
const compared = make("section", { class: "compared", "aria-label": "chosen runs beside each other", hidden: true });
const grid = (caption, names, lines) => {
  const all = [...chosen].map(runOf);
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, make("table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "text" }, names), ...all.map(run => make("th", { scope: "col", class: "text" }, run.name)))),
    make("tbody", {}, ...lines.map(([name, cells]) => make("tr", {}, make("th", { scope: "row", class: "text" }, name), ...cells.map(text => make("td", { class: "text" }, text ?? "–")))))));
};
const showCompared = () => {
  const own = [...chosen], runs = own.map(runOf);
  compared.hidden = own.length < 2;
  if (own.length < 2) return;
  const figures = [...new Set(runs.flatMap(run => Object.keys(run.figures)))].map(key => [key, runs.map(run => run.figures[key])]);
  const params = differing(own).map(name => [name, own.map(row => paramOf(name, row))]);
  const pairs = own.flatMap((_, i) => own.slice(i + 1).map((_, k) => [runs[i], runs[i + 1 + k]]));
  const verdicts = pairs.map(([a, b]) => {
    const made = data.compared[`${a.name} | ${b.name}`] ?? data.compared[`${b.name} | ${a.name}`];
    if (made) return make("li", {}, made);
    if (!a.data || a.data !== b.data) return make("li", {}, `${a.name} and ${b.name}: no test, for they have other test rows or labels.`);
    return make("li", {}, `${a.name} and ${b.name}: tested by the command `, make("code", {}, `workbook diff ${a.name} ${b.name}`), ", which this page shows from then on.");
  });
  compared.replaceChildren(make("h2", {}, `${runs.length} runs beside each other`), make("p", {}, "An interval of each says little about their difference: that has one of its own, from the same test rows."),
    make("ul", {}, ...verdicts), grid("parameters that differ", "parameter", params), grid("figures of test rows, 95 % intervals", "step, model, metric", figures));
};
const none = make("button", { type: "button", onclick: () => {
  chosen.clear();
  for (const box of body.querySelectorAll("input")) box.checked = false;
  showCompared();
} }, "choose none");
root.prepend(make("div", { class: "filters" }, make("label", {}, "search ", search), ...selects, count, none), columns,
  make("p", { class: "hint" }, "Check two or more runs to see them beside each other, below the table. A click on a heading sorts."));
root.querySelector(".scroll").after(more);
root.append(compared);
filter();
