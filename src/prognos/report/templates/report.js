"use strict";
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0];
  if (body.rows.length < 2) return;
  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (heading, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    while (heading.firstChild) button.appendChild(heading.firstChild);
    heading.appendChild(button);
    button.addEventListener("click", function () {
      var rising = heading.getAttribute("aria-sort") !== "ascending";
      Array.prototype.forEach.call(table.tHead.rows[0].cells, function (other) { other.removeAttribute("aria-sort"); });
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      var rows = Array.prototype.slice.call(body.rows);
      rows.sort(function (one, other) { return compare(one.cells[column], other.cells[column], rising); });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
});
function compare(one, other, rising) {
  var a = one.dataset.value, b = other.dataset.value;
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  var numeric = !isNaN(Number(a)) && !isNaN(Number(b));
  var order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
  return rising ? order : -order;
}
window.addEventListener("beforeprint", function () {
  document.querySelectorAll("details").forEach(function (box) { box.open = true; });
});
