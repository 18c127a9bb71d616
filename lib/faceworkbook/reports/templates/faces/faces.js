// Faces one can look through: table, map, choice of rows with its figure, corrections. Data stands beside it as JSON.
for (const root of document.querySelectorAll(".face-browser")) browse(root);

function browse(root) {
  "use strict";
  const data = JSON.parse(root.querySelector("script.face-data").textContent);
  const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u200b\u2028-\u202e\u2066-\u2069\ufeff]|\p{Cs}/gu;
  const compare = new Intl.Collator("en").compare, ROWS = 30, NEAR = 14, Z = 1.959963984540054, NA = "NA", WRONG = "#D55E00", GREY = "#b5b5b5";
  const SHADES = ["#00224e", "#434e6c", "#7d7c78", "#bcae6c", "#fee838"];
  const { rows: n, columns, task, sprite } = data, all = [...Array(n).keys()];
  const shown = text => String(text ?? "–").replace(UNSEEN, "\ufffd");
  const value = (name, i) => {
    const c = columns[name], v = c.values[i];
    return c.names ? c.names[v] ?? null : v;
  };
  const isRight = i => task.number ? null : columns.right.values[i];
  const miss = i => columns.error.values[i];
  const fixed = (v, digits) => v.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const say = v => fixed(v, task.number ? 2 : 3) + (task.number && task.unit ? " " + task.unit : "");

  // ------------------------------------------------------------------ small elements, filled with text and never with markup
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, v] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), v);
      else if (v === true) element.setAttribute(name, "");
      else if (v !== false && v != null) element.setAttribute(name, v);
    }
    element.append(...children.map(c => typeof c === "string" ? shown(c) : c));
    return element;
  };
  const choose = (label, options, on) => {
    const list = make("select", { "aria-label": label, onchange: () => on(list.value) });
    list.append(...options.map(([v, text]) => make("option", { value: v }, text)));
    return [make("label", {}, label + " ", list), list];
  };

  // ------------------------------------------------------------------ pictures: tiles of one sprite
  let bitmap = null;
  const draw = (canvas, i) => {
    const at = sprite ? sprite.tiles[i] : -1, side = canvas.width, pen = canvas.getContext("2d");
    pen.clearRect(0, 0, side, side);
    if (at < 0 || !bitmap) {
      pen.fillStyle = "#8a8f96"; pen.font = `${Math.round(side / 5)}px system-ui, sans-serif`; pen.textAlign = "center";
      pen.fillText(at < 0 ? "none" : "…", side / 2, side / 2);
      return;
    }
    const size = sprite.size;
    pen.drawImage(bitmap, at % sprite.columns * size, Math.floor(at / sprite.columns) * size, size, size, 0, 0, side, side);
  };
  const picture = (i, side) => {
    const canvas = make("canvas", { width: side, height: side, role: "img", "aria-label": picturesAlt(i) });
    draw(canvas, i);
    return canvas;
  };
  const picturesAlt = i => sprite && sprite.tiles[i] >= 0 ? `face ${shown(columns.image.values[i])}` : "no picture on this page";

  // ------------------------------------------------------------------ what is chosen
  const chosen = { filters: {}, text: "", outcome: "", region: null, sort: "", up: false, page: 0, at: 0, color: "truth" };
  let list = [];
  const inRegion = i => {
    const r = chosen.region, x = data.map.x[i], y = data.map.y[i];
    return x != null && x >= r[0] && x <= r[2] && y >= r[1] && y <= r[3];
  };
  const passes = i => {
    for (const [name, v] of Object.entries(chosen.filters)) if (String(columns[name].values[i]) !== v) return false;
    if (chosen.outcome === "wrong" && isRight(i) || chosen.outcome === "right" && !isRight(i)) return false;
    if (chosen.outcome === "marked" && !marks.has(i)) return false;
    if (chosen.text && !columns.image.values[i].toLowerCase().includes(chosen.text)) return false;
    return !chosen.region || inRegion(i);
  };
  const ranksOf = c => {  // numbers as they are, texts by their place in the alphabet, classes in an order by that
    if (c.ordered) return c.values.map(v => v < 0 ? null : v);
    const texts = c.names ?? c.values;
    if (typeof texts[0] !== "string") return c.values;
    const places = new Map([...new Set(texts)].sort(c.names ? compare : undefined).map((text, k) => [text, k]));
    return c.values.map(v => places.get(c.names ? c.names[v] : v));
  };
  const order = () => {
    if (!chosen.sort) return;  // as they come: errors first, the most confident before others
    const c = columns[chosen.sort], sign = chosen.up ? 1 : -1;
    c.ranks ??= ranksOf(c);
    list.sort((a, b) => {
      const x = c.ranks[a], y = c.ranks[b];
      return x == null || y == null ? (x == null) - (y == null) || a - b : sign * (x - y) || a - b;
    });
  };
  const update = ({ keep = false } = {}) => {
    const before = list[chosen.at];
    list = all.filter(passes);
    order();
    chosen.at = keep ? Math.max(list.indexOf(before), 0) : 0;
    chosen.page = Math.floor(chosen.at / ROWS);
    figure.textContent = describe();
    fill(); drawMap(); showOne();
  };

  // ------------------------------------------------------------------ the figure of what is chosen, with its interval
  const tQuantile = df => {  // Cornish-Fisher, exact to three digits from 5 degrees of freedom on
    const z = Z;
    return z + (z ** 3 + z) / (4 * df) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * df ** 2)
      + (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * df ** 3);
  };
  const wilson = (k, m) => {
    const p = k / m, a = 1 + Z * Z / m, middle = (p + Z * Z / (2 * m)) / a;
    const reach = Z / a * Math.sqrt(p * (1 - p) / m + Z * Z / (4 * m * m));
    return [Math.max(0, middle - reach), Math.min(1, middle + reach)];
  };
  const ofRows = rows => {
    const m = rows.length;
    const mean = rows.reduce((sum, i) => sum + (task.number ? miss(i) : isRight(i) ? 1 : 0), 0) / m;
    if (new Set(rows.map(i => data.units[i])).size < m) return [mean, null, "no interval for a choice of one's own where faces of one "
      + "person or copies of a picture repeat; whole groups have one"];
    if (!task.number) return [mean, wilson(Math.round(mean * m), m), "Wilson, each face by itself"];
    if (m < 6) return [mean, null, "too few faces for an interval"];
    const error = Math.sqrt(rows.reduce((sum, i) => sum + (miss(i) - mean) ** 2, 0) / (m - 1) / m);
    const factor = Math.exp(Math.min(tQuantile(m - 1) * error / mean, 300));
    return [mean, error > 0 ? [mean / factor, mean * factor] : null, "t, each face by itself"];
  };
  const known = () => {  // figures that Python computed, of all faces and of whole groups
    if (chosen.text || chosen.outcome || chosen.region) return null;
    const names = Object.keys(chosen.filters);
    if (!names.length) return data.overall;
    const [name] = names;
    return names.length === 1 ? (data.groups[name] ?? {})[columns[name].names[chosen.filters[name]]] ?? null : null;
  };
  const describe = () => {
    const m = list.length, people = new Set(list.map(i => data.units[i])).size;
    if (!m) return "No face fits all of these.";
    const who = people < m ? ` (${people.toLocaleString("en")} ${data.counted})` : "";
    const start = `${m.toLocaleString("en")} of ${n.toLocaleString("en")} test faces${who}`;
    const made = known();
    if (chosen.outcome === "wrong" || chosen.outcome === "right") return `${start}, chosen by whether they are read right.`;
    if (!task.figure) return `${start}.`;
    const [mean, interval, how] = made ? [made.value, made.low == null ? null : [made.low, made.high], made.method] : ofRows(list);
    const spread = interval ? `95 % interval ${say(interval[0])} to ${say(interval[1])} (${how})` : how;
    const picked = chosen.region ? " The region was chosen by looking: its figure flatters or blames by that alone." : "";
    return `${start}: ${task.figure} ${say(mean)}, ${spread}.${picked}`;
  };

  // ------------------------------------------------------------------ marks: what a person decides about a face
  const marks = new Map(), slot = `faces:${data.key}`;
  const index = new Map(columns.face_id.values.map((id, i) => [id, i]));
  const keepMarks = () => {
    try { localStorage.setItem(slot, JSON.stringify([...marks].map(([i, m]) => [columns.face_id.values[i], m]))); } catch { /* a browser without a store */ }
  };
  try {
    for (const [id, mark] of JSON.parse(localStorage.getItem(slot) ?? "[]")) if (index.has(id)) marks.set(index.get(id), mark);
  } catch { /* nothing was kept */ }
  let target = 0;  // which label a correction is about, where a task is read from several
  const label = () => data.labels[target], canMark = data.labels.length > 0;
  const was = (i, of = label()) => of.names ? of.names[of.values[i]] ?? NA : of.values[i] == null ? NA : String(of.values[i]);
  const others = i => label().names ? [...label().names, NA].filter(name => name !== was(i)) : [NA];
  const suggested = i => data.labels.length === 1 && label().names?.includes(value("predicted", i)) ? value("predicted", i) : "";
  const mark = (i, decision, given) => {
    if (i === undefined || !canMark) return;
    const before = marks.get(i);
    if (decision === "undo") marks.delete(i);
    else if (decision === "change") {
      const names = others(i), again = before?.decision === "change" && before.column === label().column;
      const next = again ? names[(names.indexOf(before.value) + 1) % names.length]
        : suggested(i) && suggested(i) !== was(i) ? suggested(i) : names[0];
      marks.set(i, { decision, column: label().column, value: given ?? next });
    } else marks.set(i, { decision, column: label().column, value: "" });
    keepMarks();
    counted.textContent = marks.size ? `${marks.size} marked` : "none marked yet";
    save.disabled = forget.disabled = !marks.size;
    const row = body.querySelector(`tr[data-row="${i}"]`);
    if (row) row.lastChild.textContent = shown(markOf(i));
    showOne();
  };
  const markOf = i => {
    const m = marks.get(i);
    if (!m) return "";
    if (m.decision === "unusable") return "unusable";
    return (data.labels.length > 1 ? `${m.column}: ` : "") + (m.decision === "keep" ? "label is right" : `label wrong, now ${m.value}`);
  };
  const disarm = text => {  // as faceworkbook.spreadsheet does: no spreadsheet takes it for a formula
    const whole = text.replace(/\p{Cs}/gu, c => "\\u" + c.charCodeAt(0).toString(16)), bare = whole.replace(/^'+/, "").replace(/^[ \n]+/, "");
    return /^[=+\-@\t\r]/.test(bare) && !/^-?\d+(\.\d*)?([eE][+-]?\d+)?$/.test(whole.replace(/^'+/, "")) ? "'" + whole : whole;
  };
  const csv = () => {
    const quote = v => { const text = disarm(String(v ?? "")); return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text; };
    const earlier = new Map(data.earlier.map(row => [JSON.stringify([row.face_id, row.column]), row]));
    for (const [i, m] of marks) {
      const id = columns.face_id.values[i], key = JSON.stringify([id, m.column]), former = earlier.get(key);
      if (m.decision === "keep" && former) continue;
      if (m.decision === "unusable") for (const other of [...earlier.keys()]) if (JSON.parse(other)[0] === id) earlier.delete(other);
      const of = data.labels.find(l => l.column === m.column) ?? data.labels[0];
      earlier.set(key, {
        face_id: id, column: m.column, value: m.value, was: former?.was ?? was(i, of), decision: m.decision, suggested: suggested(i),
        p_given: columns.p_true?.values[i], p_suggested: columns.confidence?.values[i], why: "marked in a report", image: columns.image.values[i],
      });
    }
    const head = ["face_id", "column", "value", "was", "decision", "suggested", "p_given", "p_suggested", "why", "image"];
    return [head, ...[...earlier.values()].map(row => head.map(name => row[name]))].map(row => row.map(quote).join(",")).join("\n") + "\n";
  };
  const download = () => {
    const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    make("a", { href: url, download: "corrections.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  // ------------------------------------------------------------------ the table
  const table = ["truth", "predicted", ...(columns.confidence ? ["confidence"] : []), ...(task.number ? ["error"] : ["right"]), ...data.attributes, "image"];
  const sorters = {};
  const head = make("tr", {}, make("th", { scope: "col", class: "text" }, "face"), ...table.map(name => {
    const button = make("button", { type: "button", onclick: () => {
      chosen.up = chosen.sort === name ? !chosen.up : !columns[name].number;
      chosen.sort = name;
      for (const [other, th] of Object.entries(sorters)) th.setAttribute("aria-sort", other === name ? (chosen.up ? "ascending" : "descending") : "none");
      update();
    } }, columns[name].title);
    return sorters[name] = make("th", { scope: "col", "aria-sort": "none", class: columns[name].number ? "number" : "text" }, button);
  }), make("th", { scope: "col", class: "text" }, "marked"));
  const body = make("tbody");
  const cell = (name, i) => {
    const c = columns[name], v = value(name, i);
    const text = name === "right" ? (v ? "right" : "wrong") : typeof v === "number" ? fixed(v, c.digits ?? 0) : shown(v);
    return make("td", { class: (c.number ? "number" : "text") + (name === "right" && !v ? " miss" : ""), "data-label": c.title }, text);
  };
  const fill = () => {
    const first = chosen.page * ROWS, part = list.slice(first, first + ROWS);
    body.replaceChildren(...part.map((i, k) => make("tr", { "data-row": i, "data-at": first + k, class: first + k === chosen.at ? "chosen" : null },
      make("td", { class: "text" }, make("button", { type: "button", class: "face", tabindex: first + k === chosen.at ? 0 : -1,
        "aria-label": `look at ${shown(columns.image.values[i])}` }, picture(i, data.side))),
      ...table.map(name => cell(name, i)), make("td", { class: "text", "data-label": "marked" }, markOf(i)))));
    const pages = Math.max(1, Math.ceil(list.length / ROWS));
    where.textContent = `rows ${list.length ? first + 1 : 0} to ${first + part.length} of ${list.length.toLocaleString("en")}`;
    previous.disabled = chosen.page < 1;
    next.disabled = chosen.page >= pages - 1;
  };
  const go = (at, focus) => {
    if (!list.length) return;
    chosen.at = Math.min(Math.max(at, 0), list.length - 1);
    const page = Math.floor(chosen.at / ROWS);
    if (page !== chosen.page) { chosen.page = page; fill(); }
    for (const tr of body.rows) {
      const own = +tr.dataset.at === chosen.at;
      tr.classList.toggle("chosen", own);
      const button = tr.querySelector("button");
      button.tabIndex = own ? 0 : -1;
      if (own && focus) button.focus();
    }
    showOne(); drawMap();
  };
  body.addEventListener("click", event => { const tr = event.target.closest("tr"); if (tr) go(+tr.dataset.at, true); });
  const DECISIONS = { w: "change", u: "unusable", k: "keep", x: "undo" };
  const keys = event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: ROWS, PageUp: -ROWS };
    if (event.key in moves) go(chosen.at + moves[event.key], true);
    else if (event.key === "Home") go(0, true);
    else if (event.key === "End") go(list.length - 1, true);
    else if (event.key in DECISIONS) mark(list[chosen.at], DECISIONS[event.key]);
    else return;
    event.preventDefault();
  };
  body.addEventListener("keydown", keys);
  const where = make("span", {});
  const previous = make("button", { type: "button", onclick: () => go((chosen.page - 1) * ROWS) }, "previous rows");
  const next = make("button", { type: "button", onclick: () => go((chosen.page + 1) * ROWS) }, "next rows");

  // ------------------------------------------------------------------ the map
  const hasMap = !!data.map, colored = ["truth", "predicted", task.number ? "error" : "right", ...data.attributes];
  const side = 560, pad = 12, map = make("canvas", { width: side, height: side, tabindex: 0, role: "application",
    "aria-label": "Map of the descriptors: near faces look alike to the network. Arrow keys move a cross, Enter begins and ends a region, Escape clears it." });
  const px = x => pad + x / 1000 * (side - 2 * pad), back = p => (p - pad) / (side - 2 * pad) * 1000;
  const tip = make("div", { class: "tip", hidden: true }), legend = make("ul", { class: "legend" });
  let cross = null, anchor = null, drag = null;
  const colorOf = () => {
    const c = columns[chosen.color];
    if (chosen.color === "right") return i => c.values[i] ? GREY : WRONG;
    if (c.names) return i => c.colors[c.values[i]] ?? GREY;
    const known = c.values.filter(v => v != null).sort((a, b) => a - b), cuts = [.2, .4, .6, .8].map(q => known[Math.floor(q * known.length)]);
    return i => c.values[i] == null ? GREY : SHADES[cuts.filter(cut => c.values[i] >= cut).length];
  };
  const entries = () => {
    const c = columns[chosen.color];
    if (chosen.color === "right") return [["right", GREY], ["wrong", WRONG]];
    if (c.names) return c.names.map((name, k) => [name, c.colors[k]]);
    return [[`${c.title}: least`, SHADES[0]], ["most", SHADES[4]]];
  };
  const drawMap = () => {
    if (!hasMap) return;
    const pen = map.getContext("2d"), color = colorOf(), inside = new Set(list), r = n > 4000 ? 1.6 : n > 1000 ? 2.4 : 3.5;
    pen.fillStyle = "#fff"; pen.fillRect(0, 0, side, side);
    const dots = (rows, alpha) => {
      let last = "";
      pen.globalAlpha = alpha;
      for (const i of rows) {
        if (data.map.x[i] == null) continue;
        const own = color(i), x = px(data.map.x[i]), y = px(data.map.y[i]);
        if (own !== last) pen.fillStyle = last = own;
        if (r < 2) pen.fillRect(x - r, y - r, 2 * r, 2 * r);  // three times as fast as a circle, and no other to see
        else { pen.beginPath(); pen.arc(x, y, r, 0, 6.3); pen.fill(); }
      }
      pen.globalAlpha = 1;
    };
    if (list.length < n) dots(all.filter(i => !inside.has(i)), .1);
    dots(chosen.color === "right" ? [...list].sort((a, b) => isRight(b) - isRight(a)) : list, .8);
    const box = drag ?? chosen.region, i = list[chosen.at];
    pen.strokeStyle = "#111"; pen.lineWidth = 1.5;
    if (box) { pen.setLineDash([5, 3]); pen.strokeRect(px(box[0]), px(box[1]), px(box[2]) - px(box[0]), px(box[3]) - px(box[1])); pen.setLineDash([]); }
    if (i !== undefined && data.map.x[i] != null) { pen.beginPath(); pen.arc(px(data.map.x[i]), px(data.map.y[i]), r + 4, 0, 6.3); pen.stroke(); }
    if (cross) { const [x, y] = cross.map(px); pen.beginPath(); pen.moveTo(x - 9, y); pen.lineTo(x + 9, y); pen.moveTo(x, y - 9); pen.lineTo(x, y + 9); pen.stroke(); }
    legend.replaceChildren(...entries().map(([name, c]) => {
      const dot = make("span", { class: "dot" });
      dot.style.background = c;
      return make("li", {}, dot, String(name));
    }));
  };
  const nearest = (x, y) => {
    let best, least = (NEAR / (side - 2 * pad) * 1000) ** 2;
    for (const i of list) {
      if (data.map.x[i] == null) continue;
      const d = (data.map.x[i] - x) ** 2 + (data.map.y[i] - y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  };
  const point = event => { const box = map.getBoundingClientRect(); return [back((event.clientX - box.left) * side / box.width), back((event.clientY - box.top) * side / box.height)]; };
  const hover = (x, y) => {
    const i = nearest(x, y);
    tip.hidden = i === undefined;
    if (i === undefined) return;
    tip.replaceChildren(picture(i, 96), make("div", {}, caption(i)));
    tip.style.left = `${Math.min(px(x) / side * 100, 62)}%`;
    tip.style.top = `${px(y) / side * 100}%`;
  };
  const caption = i => task.number ? `true ${shown(value("truth", i))}, predicted ${fixed(value("predicted", i), 1)}`
    : `true ${shown(value("truth", i))}, predicted ${shown(value("predicted", i))}${columns.confidence ? `, ${fixed(columns.confidence.values[i], 2)}` : ""}`;
  const boxOf = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  const setRegion = region => { chosen.region = region; clear.disabled = !region; update(); };
  map.addEventListener("pointerdown", event => { anchor = point(event); map.setPointerCapture(event.pointerId); });
  map.addEventListener("pointermove", event => {
    const at = point(event);
    if (anchor && event.buttons) { drag = boxOf(anchor, at); tip.hidden = true; drawMap(); } else hover(...at);
  });
  map.addEventListener("pointerup", event => {
    const at = point(event), box = drag;
    drag = anchor = null;
    if (box && box[2] - box[0] > 8 && box[3] - box[1] > 8) return setRegion(box);
    const i = nearest(...at);
    if (i !== undefined) go(list.indexOf(i)); else drawMap();
  });
  map.addEventListener("pointerleave", () => { tip.hidden = true; });
  map.addEventListener("blur", () => { cross = anchor = null; tip.hidden = true; drawMap(); });
  map.addEventListener("keydown", event => {
    const moves = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] };
    if (event.key in moves) {
      cross = (cross ?? [500, 500]).map((v, k) => Math.min(Math.max(v + moves[event.key][k], 0), 1000));
      drag = anchor ? boxOf(anchor, cross) : null;
      hover(...cross); drawMap();
    } else if (event.key === "Enter" && cross) {
      if (anchor) { const box = boxOf(anchor, cross); anchor = drag = null; setRegion(box); } else { anchor = [...cross]; drawMap(); }
    } else if (event.key === "Escape") { anchor = drag = cross = null; tip.hidden = true; setRegion(null); } else return;
    event.preventDefault();
  });

  // ------------------------------------------------------------------ one face
  const one = make("div", { class: "one" });
  const showOne = () => {
    const i = list[chosen.at];
    if (i === undefined) return one.replaceChildren(make("p", {}, "No face is chosen."));
    const facts = [["true (annotated)", value("truth", i)], ["predicted", typeof value("predicted", i) === "number" ? fixed(value("predicted", i), 2) : value("predicted", i)],
      ...(columns.confidence ? [["probability", columns.confidence.values[i] == null ? "–" : fixed(columns.confidence.values[i], 3)]] : []),
      ...(task.number ? [["off by", fixed(miss(i), 2)]] : []), ...data.attributes.map(name => [columns[name].title, value(name, i)]),
      ["file", columns.image.values[i]], ...(canMark ? [["marked", markOf(i) || "no"]] : [])];
    const m = marks.get(i), field = !canMark ? [] : label().names
      ? choose("the right label", [["", "choose"], ...others(i).map(name => [name, name === NA ? "NA (not known)" : name])], v => v && mark(i, "change", v))
      : numberField(i);
    if (canMark && label().names) field[1].value = m?.decision === "change" && m.column === label().column ? m.value : "";
    const button = (key, text) => make("button", { type: "button", onclick: () => mark(i, DECISIONS[key]) }, text, make("kbd", {}, key));
    one.replaceChildren(picture(i, 144), make("dl", {}, ...facts.flatMap(([name, v]) => [make("dt", {}, name), make("dd", {}, shown(v))])),
      ...(canMark ? [make("p", { class: "decide" }, ...(which ? [which] : []), button("w", "label wrong"), button("u", "unusable"), button("k", "label right"), button("x", "undo"), field[0])] : []));
  };
  const numberField = i => {
    const m = marks.get(i), input = make("input", { type: "number", step: "any", size: 6 });
    if (m?.decision === "change" && m.value !== NA) input.value = m.value;
    input.addEventListener("change", () => mark(i, "change", input.value === "" ? NA : input.value));
    return [make("label", {}, "the right value ", input), input];
  };
  const which = data.labels.length > 1 ? choose("which label", data.labels.map((l, k) => [k, l.column]), v => { target = +v; showOne(); })[0] : null;

  // ------------------------------------------------------------------ put together
  const figure = make("p", { class: "figure", role: "status" });
  const filters = ["truth", "predicted", ...data.attributes].filter(name => columns[name].names).map(name => {
    const counts = columns[name].names.map((_, k) => columns[name].values.filter(v => v === k).length);
    const options = columns[name].names.map((text, k) => [k, `${text} (${counts[k]})`]).filter((_, k) => counts[k]);
    return choose(columns[name].title, [["", "all"], ...options], v => { if (v === "") delete chosen.filters[name]; else chosen.filters[name] = v; update(); });
  });
  const outcomes = [["", "all"], ...(task.number ? [] : [["wrong", "errors"], ["right", "read right"]]), ["marked", "marked"]];
  const outcome = choose("rows", outcomes, v => { chosen.outcome = v; update(); });
  const search = make("input", { type: "search", oninput: () => { chosen.text = search.value.toLowerCase(); update(); } });
  const clear = make("button", { type: "button", disabled: true, onclick: () => setRegion(null) }, "clear region");
  const reset = make("button", { type: "button", onclick: () => {
    Object.assign(chosen, { filters: {}, text: "", outcome: "", region: null });
    for (const [, select] of [...filters, outcome]) select.value = "";
    search.value = ""; clear.disabled = true;
    update();
  } }, "show all");
  const counted = make("span", { role: "status" }, marks.size ? `${marks.size} marked` : "none marked yet");
  const save = make("button", { type: "button", class: "save", disabled: !marks.size, onclick: download }, "save corrections.csv");
  const forget = make("button", { type: "button", disabled: !marks.size, onclick: () => {
    if (!confirm("Forget all marks of this page?")) return;
    marks.clear(); keepMarks(); mark(list[chosen.at], "undo"); fill();
  } }, "forget all");
  const live = root.querySelector(".live");
  live.append(
    make("div", { class: "filters" }, outcome[0], ...filters.map(([l]) => l), make("label", {}, "file ", search), reset), figure,
    make("div", { class: "halves" }, ...(hasMap ? [make("div", { class: "map" },
      make("p", {}, choose("colour by", colored.map(name => [name, columns[name].title]), v => { chosen.color = v; drawMap(); })[0], clear),
      make("div", { class: "canvas" }, map, tip), legend)] : []), one),
    ...(canMark ? [make("div", { class: "marking" }, counted, save, forget)] : []),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "table of faces" }, make("table", { class: "faces" }, make("thead", {}, head), body)),
    make("p", { class: "pager" }, previous, where, next));
  live.hidden = false;
  root.classList.add("alive");
  update();
  const image = root.querySelector("img.sprite");
  if (image) image.decode().then(() => createImageBitmap(image)).then(made => { bitmap = made; fill(); showOne(); }, () => { /* no picture can be shown */ });
}
