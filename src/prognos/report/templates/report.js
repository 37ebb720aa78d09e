"use strict";

function sortable(table) {
  var body = table.tBodies[0], headings = Array.prototype.slice.call(table.tHead.rows[0].cells);
  if (body.rows.length < 2) return;
  headings.forEach(function (heading, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    while (heading.firstChild) button.appendChild(heading.firstChild);
    heading.appendChild(button);
    button.addEventListener("click", function () {
      var rising = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach(function (other) { other.removeAttribute("aria-sort"); });
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      var rows = Array.prototype.slice.call(body.rows);
      rows.sort(function (one, other) { return compare(one.cells[column], other.cells[column], rising); });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
}

function compare(one, other, rising) {
  var a = one.dataset.value, b = other.dataset.value;
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  var numeric = !isNaN(Number(a)) && !isNaN(Number(b));
  var order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
  return rising ? order : -order;
}

function groundSwitch() {
  var style = document.getElementById("dark"), button = document.createElement("button");
  var isDark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  function show() {
    button.textContent = isDark ? "Light page" : "Dark page";
  }
  button.type = "button";
  button.className = "ground";
  button.addEventListener("click", function () {
    isDark = !isDark;
    style.media = isDark ? "screen" : "not all";
    show();
  });
  show();
  document.querySelector("header").prepend(button);
}

function followContents() {
  var links = Array.prototype.slice.call(document.querySelectorAll("nav a"));
  var sections = links.map(function (link) { return document.querySelector(link.getAttribute("href")); });
  function mark() {
    var here = 0;
    sections.forEach(function (section, place) { if (section.getBoundingClientRect().top < window.innerHeight / 3) here = place; });
    links.forEach(function (link, place) {
      if (place === here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  }
  window.addEventListener("scroll", mark, { passive: true });
  mark();
}

function copyable(text) {
  var button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", function () {
    var range = document.createRange();
    range.selectNodeContents(text);
    window.getSelection().removeAllRanges();
    window.getSelection().addRange(range);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy with the keyboard";
  });
  text.before(button);
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("[data-copy]").forEach(copyable);
groundSwitch();
followContents();
window.addEventListener("beforeprint", function () {
  document.querySelectorAll("details").forEach(function (box) { box.open = true; });
});
