// Keeps a page up to date. The page is complete without it.
"use strict";
(() => {
  const MOST_LINES = 5000;

  function parse(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }

  function replace(html) {
    const fresh = parse(html).firstElementChild;
    const old = fresh && document.getElementById(fresh.id);
    if (!old) return;
    // What the reader has opened stays open, and what has the focus keeps it.
    const open = [...old.querySelectorAll("details")].map((details) => details.open);
    const focused = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
    old.replaceWith(fresh);
    fresh.querySelectorAll("details").forEach((details, index) => { details.open = Boolean(open[index]); });
    if (focused) fresh.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  }

  function append(id, html) {
    const list = document.getElementById(id);
    if (!list) return;
    const follows = list.scrollTop + list.clientHeight >= list.scrollHeight - 40;
    list.append(parse(html));
    while (list.childElementCount > MOST_LINES) list.firstElementChild.remove();
    if (follows) list.scrollTop = list.scrollHeight;
  }

  function words(seconds) {
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
    if (hours) return `${hours} h ${minutes} min`;
    return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
  }

  function tick() {
    for (const element of document.querySelectorAll("[data-since]")) {
      const seconds = Math.max(0, Math.floor((Date.now() - Number(element.dataset.since)) / 1000));
      element.textContent = `for ${words(seconds)}`;
    }
  }

  const log = document.getElementById("log");
  if (log && !location.hash) log.scrollTop = log.scrollHeight;
  tick();
  setInterval(tick, 1000);

  let address = document.body.dataset.live;
  if (!address || !window.EventSource) return;
  let source;

  function listen() {
    if (source || !address) return;
    source = new EventSource(address);
    source.addEventListener("change", (event) => {
      JSON.parse(event.data).forEach(replace);
      tick();
    });
    source.addEventListener("append", (event) => append(...JSON.parse(event.data)));
    source.addEventListener("end", () => { rest(); address = undefined; });
  }

  function rest() {
    source?.close();
    source = undefined;
  }

  // A log's lines come once: a page that was hidden is loaded anew when it is looked at again.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return rest();
    if (log && address) return location.reload();
    listen();
  });
  if (!document.hidden) listen();
})();
