// A gallery that works from file://: what is looked at comes by script tags and as background pictures.
"use strict";

const arrived = new Map(); // pages by their numbers: [[name, what each view is], ...]; their scripts fill it
const allNames = []; // of every page; names.js fills it
const asked = new Map();
const RESULTS = 24; // on a page of search results
const KINDS = ["absent", "given", "made"];
const at = id => document.getElementById(id);
const objects = at("objects"), search = at("search");

function load(name) {
  if (!asked.has(name)) {
    asked.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = name;
      script.onload = resolve;
      script.onerror = () => { asked.delete(name); reject(new Error(`${name} is missing`)); };
      document.head.append(script);
    }));
  }
  return asked.get(name);
}

const fileOf = number => String(number).padStart(5, "0");
const numeral = count => count.toLocaleString("en");
const counted = (count, noun) => `${numeral(count)} ${noun}${count === 1 ? "" : "s"}`;
const pagesOf = count => Math.ceil(count / overview.perPage);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function tile(name, view, kind, number, place) {
  const box = element("div", `view ${KINDS[kind]}`), picture = element("div", "tile");
  const said = ["not there", "given", "generated"][kind];
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${view} view of ${name}, ${said}`);
  if (kind) {
    const columns = overview.columns, count = arrived.get(number).length * overview.views.length;
    const rows = Math.ceil(count / columns), x = place % columns, y = Math.floor(place / columns);
    picture.style.backgroundImage = `url("${fileOf(number)}.webp")`;
    picture.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
    picture.style.backgroundPosition =
      `${columns > 1 ? 100 * x / (columns - 1) : 0}% ${rows > 1 ? 100 * y / (rows - 1) : 0}%`;
  }
  const label = element("div", "", view);
  label.setAttribute("aria-hidden", "true");
  if (kind === 1) label.append(" ", element("span", "mark", "given"));
  box.append(picture, label);
  return box;
}

async function fill(figure) {
  const number = Number(figure.dataset.page), row = Number(figure.dataset.row);
  try {
    await load(`${fileOf(number)}.js`);
    const [name, kinds] = arrived.get(number)[row];
    const views = element("div", "views");
    overview.views.forEach((view, index) => {
      views.append(tile(name, view, Number(kinds[index]), number, row * overview.views.length + index));
    });
    figure.replaceChildren(element("figcaption", "", name), views);
  } catch (error) {
    figure.replaceChildren(element("figcaption", "", error.message));
  }
}

const watcher = new IntersectionObserver(entries => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      watcher.unobserve(target);
      fill(target);
    }
  }
}, { rootMargin: "400px" });

function card([number, row]) {
  const figure = element("figure", "object");
  figure.dataset.page = number;
  figure.dataset.row = row;
  figure.append(element("figcaption", "", "…"));
  watcher.observe(figure);
  return figure;
}

function show(heading, status, cards, current, page, pages, link) {
  watcher.disconnect();
  at("heading").textContent = heading;
  at("status").textContent = status;
  objects.replaceChildren(...cards.map(card));
  for (const anchor of document.querySelectorAll(".room > nav a")) {
    if (anchor.getAttribute("href") === current) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  at("pager").hidden = pages < 2;
  at("where").textContent = `Page ${numeral(page + 1)} of ${numeral(pages)}`;
  at("previous").hidden = page === 0;
  at("next").hidden = page + 1 >= pages;
  at("previous").href = link(page - 1);
  at("next").href = link(page + 1);
}

function showOverview() {
  const { classes } = overview, total = classes.reduce((sum, [, , count]) => sum + count, 0);
  const status = `${counted(total, "object")} in ${numeral(classes.length)} ${classes.length === 1 ? "class" : "classes"}; the first of each:`;
  show("All classes", status, classes.map(([, first]) => [first, 0]), "#/", 0, 1, () => "#/");
}

function showClass(index, page) {
  const [name, first, count] = overview.classes[index], pages = pagesOf(count);
  page = Math.min(Math.max(page, 0), pages - 1);
  const onPage = Math.min(overview.perPage, count - page * overview.perPage);
  const cards = Array.from({ length: onPage }, (_, row) => [first + page, row]);
  show(name, counted(count, "object"), cards, `#/${index}`, page, pages, other => `#/${index}/${other}`);
}

async function showFound(text, page) {
  await load("names.js");
  if (search.value !== text || !text) return;
  const wanted = text.toLowerCase(), found = [];
  allNames.forEach((names, number) => names.forEach((name, row) => {
    if (name.toLowerCase().includes(wanted)) found.push([number, row]);
  }));
  const pages = Math.max(1, Math.ceil(found.length / RESULTS));
  page = Math.min(Math.max(page, 0), pages - 1);
  const status = found.length ? counted(found.length, "object") : "No object has this in its name.";
  const cards = found.slice(page * RESULTS, (page + 1) * RESULTS);
  show(`Objects with “${text}”`, status, cards, "", page, pages, other => `#?${other}/${encodeURIComponent(text)}`);
}

function follow(event) {
  const hash = location.hash, sought = /^#\?(\d+)\/(.+)$/.exec(hash), chosen = /^#\/(\d+)(?:\/(\d+))?$/.exec(hash);
  if (sought) {
    search.value = decodeURIComponent(sought[2]);
    showFound(search.value, Number(sought[1])).catch(error => { at("status").textContent = error.message; });
  } else {
    search.value = "";
    if (chosen && Number(chosen[1]) < overview.classes.length) showClass(Number(chosen[1]), Number(chosen[2] || 0));
    else showOverview();
  }
  if (event && document.activeElement !== search) {
    at("heading").focus({ preventScroll: true });
    at("heading").scrollIntoView({ block: "nearest" });
  }
}

document.documentElement.style.setProperty("--shown", Math.min(overview.views.length, 6));
search.form.addEventListener("submit", event => event.preventDefault());
search.addEventListener("input", () => {
  location.hash = search.value ? `#?0/${encodeURIComponent(search.value)}` : "#/";
});
window.addEventListener("hashchange", follow);
follow();
