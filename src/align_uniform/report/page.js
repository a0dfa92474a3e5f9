"use strict";
// Headings become buttons here, not in the page: without a script there is nothing that they could do.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = heading.getAttribute("aria-sort") !== "descending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const order = (row) => Number(row.cells[column].dataset.order);
      const rows = [...table.tBodies[0].rows].sort((a, b) => (falling ? order(b) - order(a) : order(a) - order(b)));
      table.tBodies[0].append(...rows);
    });
  });
}
// Nothing can be opened on paper.
addEventListener("beforeprint", () => document.querySelectorAll("details.printed").forEach((part) => (part.open = true)));

// ------------------------------------------------------------------------------------------------------ the map
for (const map of document.querySelectorAll(".map")) {
  const points = [...map.querySelectorAll("circle[data-colours]")];
  const legends = [...map.querySelectorAll(".key")];
  const bar = map.querySelector(".keys");
  const buttons = legends.length < 2 ? [] : legends.map((legend, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "by " + legend.dataset.name;
    button.setAttribute("aria-pressed", String(number === 0));
    button.addEventListener("click", () => {
      points.forEach((point) => point.setAttribute("fill", point.dataset.colours.split(" ")[number]));
      legends.forEach((other, place) => (other.hidden = place !== number));
      buttons.forEach((other, place) => other.setAttribute("aria-pressed", String(place === number)));
    });
    return button;
  });
  bar.append(...buttons);
  const tip = map.querySelector(".tip");
  map.addEventListener("pointerover", (event) => {
    const { words, picture } = event.target.dataset;
    tip.hidden = words === undefined;
    if (tip.hidden) return;
    const image = document.createElement("img");
    image.alt = "";
    image.src = picture ?? "";
    tip.replaceChildren(...(picture ? [image] : []), words);
    const frame = map.getBoundingClientRect(), at = event.target.getBoundingClientRect();
    tip.style.left = Math.max(0, Math.min(at.right - frame.left + 6, frame.width - tip.offsetWidth - 6)) + "px";
    tip.style.top = at.bottom - frame.top + 6 + "px";
  });
  map.addEventListener("pointerleave", () => (tip.hidden = true));
}

// ------------------------------------------------------------------------------------------------- the downloads
const stem = document.querySelector("h1").textContent.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "report";
const save = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = stem + "-" + name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const offer = (place, words, action) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = words;
  button.addEventListener("click", action);
  place.append(button);
};
const downloads = document.querySelector(".downloads");
for (const file of document.querySelectorAll("[data-file]")) {
  const text = (file.content ?? file).textContent, name = file.dataset.file;
  const size = text.length < 1e5 ? Math.ceil(text.length / 1e3) + " kB" : (text.length / 1e6).toFixed(1) + " MB";
  offer(downloads, `${name} (${size})`, () => save(new Blob([text], { type: "text/plain" }), name));
}
// Outside of the page a figure has a white ground, and the colours that stand in it beside those of the page.
const drawn = (svg) => {
  const copy = svg.cloneNode(true), [, , width, height] = svg.getAttribute("viewBox").split(/[ ,]+/).map(Number);
  const ground = document.createElementNS(svg.namespaceURI, "rect");
  Object.entries({ width, height, fill: "#ffffff" }).forEach(([key, value]) => ground.setAttribute(key, value));
  copy.prepend(ground);
  Object.entries({ width, height, "font-family": "sans-serif" }).forEach(([key, value]) => copy.setAttribute(key, value));
  copy.querySelectorAll("[data-words]").forEach((point) => Object.keys(point.dataset).forEach((key) => delete point.dataset[key]));
  const text = new XMLSerializer().serializeToString(copy).replace(/var\(--\w+, (#\w+)\)/g, "$1");
  return { text, width, height };
};
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector(":scope > svg"), heading = figure.querySelector("h3");
  const name = heading.textContent.toLowerCase().replace(/[^a-z]+/g, "-").replace(/-$/, "");
  const place = document.createElement("span");
  heading.append(place);
  offer(place, "SVG", () => save(new Blob([drawn(svg).text], { type: "image/svg+xml" }), name + ".svg"));
  offer(place, "PNG", () => {
    const { text, width, height } = drawn(svg), image = new Image(), canvas = document.createElement("canvas");
    const scale = 1600 / width;
    image.onload = () => {
      [canvas.width, canvas.height] = [1600, Math.round(scale * height)];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(blob, name + ".png"));
    };
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
  });
}
