"""The page on which agents play: plain HTML and JavaScript that loads nothing from elsewhere."""

from __future__ import annotations

POLICY = "default-src 'none'; img-src data:; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the browser lets the page do."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>gymnast serve</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; }
#models { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 32rem)); gap: 1.5rem; }
#models { align-items: start; }
article { border: 1px solid var(--line); border-radius: 6px; padding: 1rem; }
h2 { font-size: 1.15rem; margin: 0; }
p { margin: 0.2rem 0; color: var(--soft); overflow-wrap: anywhere; }
img { width: 100%; min-height: 8rem; image-rendering: pixelated; border-radius: 4px; background: #8882; }
img:not([src]), img:not([src]) + dl { display: none; }
button { font: inherit; padding: 0.2rem 0.8rem; margin-top: 0.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; font-variant-numeric: tabular-nums; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.error { color: #c33; }
</style>
</head>
<body>
<h1>gymnast serve</h1>
<p id="said" class="error" role="status"></p>
<div id="models"></div>
<template>
<article>
<h2></h2>
<p class="about"></p>
<p class="share"></p>
<img alt="">
<dl><dt>action</dt><dd></dd><dt>value</dt><dd></dd><dt>return</dt><dd></dd><dt>step</dt><dd></dd><dt>episode</dt><dd></dd></dl>
<button type="button">Watch</button>
<p class="error" role="status"></p>
</article>
</template>
<script>
"use strict";
const watching = new Set(new URLSearchParams(location.search).getAll("watch"));
const shown = (value) => typeof value === "number" ? String(+value.toPrecision(6)) : JSON.stringify(value);

/* The address names the games that are watched, so that it can be sent to somebody. */
function keep(key, on) {
  on ? watching.add(key) : watching.delete(key);
  const names = [...watching].map((name) => "watch=" + encodeURIComponent(name));
  history.replaceState(null, "", location.pathname + (names.length ? "?" + names.join("&") : ""));
}

function card(model, version) {
  const key = model.name + "@" + version.version;
  const made = document.querySelector("template").content.firstElementChild.cloneNode(true);
  const button = made.querySelector("button"), image = made.querySelector("img"), error = made.querySelector(".error");
  const cells = made.querySelectorAll("dd");
  let source = null;
  made.querySelector("h2").textContent = model.name + ", version " + version.version;
  made.querySelector(".about").textContent = version.agent + (version.env ? " in " + version.env : "");
  if (model.versions.length > 1) {
    made.querySelector(".share").textContent = Math.round(100 * version.share) + "% of requests without a version";
  }
  image.alt = "the game of " + model.name;
  button.hidden = !version.env;
  const stop = (text) => {
    if (source) source.close();
    source = null;
    button.textContent = "Watch";
    error.textContent = text;
  };
  const watch = () => {
    error.textContent = "";
    button.textContent = "Stop";
    const name = encodeURIComponent(model.name), number = encodeURIComponent(version.version);
    source = new EventSource("v1/models/" + name + "/versions/" + number + "/live");
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (event.error) return stop(event.error);
      image.src = "data:image/jpeg;base64," + event.frame;
      const value = event.value === null ? "not learned" : shown(event.value);
      [shown(event.action), value, shown(event.return), event.step, event.episode].forEach((text, place) => {
        cells[place].textContent = text;
      });
    };
    source.onerror = () => stop("the server has ended the game");
  };
  button.addEventListener("click", () => {
    keep(key, !source);
    source ? stop("") : watch();
  });
  if (watching.has(key)) watch();
  return made;
}

/* A model without a version stands for the one that answers most of its requests. */
function resolve(models) {
  for (const key of [...watching]) {
    const model = models.find((one) => one.name === key);
    if (model) {
      watching.delete(key);
      watching.add(key + "@" + model.versions.reduce((most, one) => one.share > most.share ? one : most).version);
    } else if (!models.some((one) => one.versions.some((version) => one.name + "@" + version.version === key))) {
      document.querySelector("#said").textContent += "No model " + key + " is served. ";
      watching.delete(key);
    }
  }
}

fetch("v1/models").then((answer) => answer.json()).then((found) => {
  resolve(found.models);
  for (const model of found.models) {
    for (const version of model.versions) document.querySelector("#models").append(card(model, version));
  }
}).catch(() => { document.querySelector("#said").textContent = "The server does not answer."; });
</script>
</body>
</html>
"""
