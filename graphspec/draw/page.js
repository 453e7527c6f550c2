"use strict";
(() => {
const byId = id => document.getElementById(id);
const view = byId("view"), card = byId("card"), svg = view.querySelector("svg"), input = byId("search"), found = byId("found");
const facts = JSON.parse(byId("facts").textContent);
const items = new Map(), wires = [];

for (const g of svg.querySelectorAll("[data-i]")) {
  items.set(g.dataset.i, g);
  g.querySelector("title")?.remove();  // the card says it
}
for (const g of svg.querySelectorAll("[data-e]")) {
  const [from, to] = g.dataset.e.split(" ");
  const hit = g.querySelector("path").cloneNode();
  hit.setAttribute("class", "hit");
  g.append(hit);
  wires.push({g, from, to, loop: g.classList.contains("l")});
}

// ---- where the picture stands ----
const size = {w: svg.width.baseVal.value, h: svg.height.baseVal.value};
let x = 0, y = 0, scale = 1;
const place = () => { svg.style.transform = `translate(${x}px,${y}px) scale(${scale})`; };
function fit() {
  const {clientWidth: w, clientHeight: h} = view;
  scale = Math.min(1.25, w / size.w, h / size.h);
  if (scale < 0.6) scale = Math.min(1, Math.max(scale, 0.6, w / size.w));  // rather part of it than letters nobody can read
  x = Math.max(0, (w - size.w * scale) / 2);
  y = Math.max(0, (h - size.h * scale) / 2);
  place();
}
function zoom(factor, atX = view.clientWidth / 2, atY = view.clientHeight / 2) {
  const next = Math.min(8, Math.max(0.03, scale * factor));
  x = atX - (atX - x) * next / scale;
  y = atY - (atY - y) * next / scale;
  scale = next;
  place();
}
function show(g) {
  const box = g.getBBox(), at = g.getBoundingClientRect(), frame = view.getBoundingClientRect();
  if (scale >= 0.7 && at.left > frame.left && at.right < frame.right && at.top > frame.top && at.bottom < frame.bottom) return;
  scale = Math.max(scale, 0.9);
  x = view.clientWidth / 2 - (box.x + box.width / 2) * scale;
  y = view.clientHeight / 2 - (box.y + box.height / 2) * scale;
  place();
}
view.addEventListener("wheel", e => {
  e.preventDefault();
  const at = view.getBoundingClientRect();
  zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0015)), e.clientX - at.left, e.clientY - at.top);
}, {passive: false});
let drag = null;
view.addEventListener("pointerdown", e => {
  if (e.button === 0) drag = {x: e.clientX, y: e.clientY, moved: false};
});
view.addEventListener("pointermove", e => {
  if (!drag) return;
  const dx = e.clientX - drag.x, dy = e.clientY - drag.y;
  if (!drag.moved && Math.hypot(dx, dy) < 4) return;
  if (!drag.moved) view.setPointerCapture(e.pointerId);
  drag = {x: e.clientX, y: e.clientY, moved: true};
  view.classList.add("moving");
  x += dx; y += dy;
  place();
});
for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, e => {
  if (drag && !drag.moved && end === "pointerup") pin(e.target.closest(".i"));
  drag = null;
  view.classList.remove("moving");
});

// ---- what an item is ----
function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function describe(number) {
  const fact = facts[number], parts = [];
  const title = element("h2", fact.title + " ");
  title.append(element("small", fact.signature || fact.kind));
  parts.push(title);
  if (fact.doc) parts.push(element("p", fact.doc));
  const counts = fact.count ? `${fact.count.toLocaleString("en")} parameters` : "";
  const line = [fact.shape, counts, fact.tied && `tied: ${fact.tied}`].filter(Boolean).join(" · ");
  if (line) parts.push(element("p", line));
  if (fact.place) {
    parts.push(element("pre", fact.text), element("p", fact.place, "mute"));
  }
  for (const call of fact.calls) parts.push(element("p", call, "mute"));
  if (fact.parameters.length) {
    const table = element("table");
    for (const [name, shape] of fact.parameters) {
      const row = table.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = shape;
    }
    parts.push(table);
  }
  return parts;
}
function put(parts, atX, atY) {
  card.replaceChildren(...parts);
  card.hidden = false;
  const {offsetWidth: w, offsetHeight: h} = card;
  card.style.left = `${Math.max(6, Math.min(atX, innerWidth - w - 8))}px`;
  card.style.top = `${atY + h + 8 > innerHeight ? Math.max(6, atY - h - 40) : atY}px`;
}
function beside(g, parts) {
  const box = g.getBoundingClientRect();
  put(parts, box.left, box.bottom + 8);
}
function cool() { for (const g of svg.querySelectorAll(".hot")) g.classList.remove("hot"); }
function heat(test) {
  for (const wire of wires) if (test(wire)) wire.g.classList.add("hot");
}
let pinned = null;
function enter(g) {
  if (pinned || drag?.moved) return;
  const number = g.dataset.i, tied = facts[number].tied;
  cool();
  g.classList.add("hot");
  heat(wire => wire.from === number || wire.to === number);
  if (tied) for (const [other, h] of items) if (facts[other].tied === tied) h.classList.add("hot");
  beside(g, describe(number));
}
function leave() {
  if (pinned) return;
  cool();
  card.hidden = true;
}
function pin(g) {
  const again = g === pinned;
  pinned = null;
  leave();
  if (g && !again) {
    enter(g);
    pinned = g;
  }
  card.classList.toggle("pinned", Boolean(pinned));
}
for (const g of items.values()) {
  if (!g.classList.contains("i")) continue;
  g.tabIndex = 0;
  g.setAttribute("aria-label", `${facts[g.dataset.i].title}, ${facts[g.dataset.i].kind}, ${facts[g.dataset.i].shape || ""}`);
  g.addEventListener("pointerenter", () => enter(g));
  g.addEventListener("pointerleave", leave);
  g.addEventListener("focus", () => { if (g.matches(":focus-visible")) enter(g); });
  g.addEventListener("blur", leave);
}
for (const wire of wires) {
  wire.g.addEventListener("pointerenter", e => {
    if (pinned || drag?.moved) return;
    cool();
    heat(other => other.from === wire.from && other.loop === wire.loop);
    const source = facts[wire.from], title = element("h2", `${source.title} → ${facts[wire.to].title} `);
    title.append(element("small", wire.loop ? "to the next step" : ""));
    put([title, element("p", source.shape)], e.clientX + 10, e.clientY + 14);
  });
  wire.g.addEventListener("pointerleave", leave);
}

// ---- search ----
const words = new Map();
for (const [number, g] of items) {
  if (!g.classList.contains("i")) continue;
  const fact = facts[number];
  words.set(g, [fact.title, fact.kind, fact.shape, fact.text, fact.place, ...fact.calls, ...fact.parameters.map(p => p[0])].join("\n").toLowerCase());
}
let matches = [], current = -1;
function search() {
  const wanted = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  matches = wanted.length ? [...words].filter(([, text]) => wanted.every(word => text.includes(word))).map(([g]) => g) : [];
  for (const g of words.keys()) {
    g.classList.toggle("match", matches.includes(g));
    g.classList.remove("current");
  }
  view.classList.toggle("searching", wanted.length > 0);
  current = -1;
  found.textContent = wanted.length ? `${matches.length || "no"} match${matches.length === 1 ? "" : "es"}` : "";
}
function next(step) {
  if (!matches.length) return;
  matches[current]?.classList.remove("current");
  current = (current + step + matches.length) % matches.length;
  matches[current].classList.add("current");
  show(matches[current]);
  pinned = null;
  enter(matches[current]);
  found.textContent = `${current + 1} of ${matches.length}`;
}
input.addEventListener("input", search);
input.addEventListener("keydown", e => {
  if (e.key === "Enter") next(e.shiftKey ? -1 : 1);
  if (e.key === "Escape") { input.value = ""; search(); pin(null); input.blur(); }
});
addEventListener("keydown", e => {
  if (e.target === input || e.ctrlKey || e.metaKey || e.altKey) return;
  const actions = {"/": () => input.focus(), "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": fit, Escape: () => pin(null)};
  if (actions[e.key]) { e.preventDefault(); actions[e.key](); }
});
byId("in").addEventListener("click", () => zoom(1.25));
byId("out").addEventListener("click", () => zoom(0.8));
byId("fit").addEventListener("click", fit);
addEventListener("resize", fit);
fit();
})();
