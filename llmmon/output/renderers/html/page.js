(() => {
  "use strict";
  const status = document.querySelector(".status");
  const tip = document.querySelector(".tip");
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  const make = (name, text, style) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (style) made.className = style;
    return made;
  };

  // Tables: a click on a head sorts, a second one turns the order; rows without a value stay last.
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? (a < b ? -1 : a > b ? 1 : 0) : x - y;
  };
  const sort = (table, column, order) => {
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row, at) => [row.cells[column].dataset.v, at, row]);
    keyed.sort(([a, i], [b, j]) =>
      a === undefined || b === undefined
        ? (a === undefined) - (b === undefined) || i - j
        : sign * compare(a, b) || i - j);
    body.append(...keyed.map((entry) => entry[2]));
    const heads = table.tHead.rows[0].cells;
    for (const other of heads) other.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", order);
    table.dataset.sorted = `${column} ${order}`;
  };
  const clicked = (table, column) => {
    const head = table.tHead.rows[0].cells[column];
    const now = head.getAttribute("aria-sort");
    const first = head.classList.contains("n") ? "descending" : "ascending";
    const order = now === "descending" ? "ascending" : now === "ascending" ? "descending" : first;
    sort(table, column, order);
    status.textContent = `${table.caption.textContent} sorted by ${head.textContent}, ${order}`;
  };

  // Charts: the pointer, or the arrow keys, read the values out of the chart's table.
  const placeTip = (stage, share) => {
    const box = stage.getBoundingClientRect();
    const at = box.left + share * box.width;
    const right = at + 14 + tip.offsetWidth < document.documentElement.clientWidth;
    const left = right ? at + 14 : Math.max(4, at - 14 - tip.offsetWidth);
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${box.top + scrollY + 6}px`;
  };
  const readable = (figure, figures) => {
    const stage = figure.querySelector(".stage");
    const table = figure.querySelector("table.values");
    const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
    const styles = all(".legend .swatch", figure).map((swatch) => swatch.className);
    const rows = table.tBodies[0].rows;
    const axis = (other) => {
      const others = other.querySelector("table.values").tBodies[0].rows;
      return `${others.length} ${others[0].cells[0].textContent}`;
    };
    let place = -1;
    // charts over the same stretches of time are read at the same place
    const cursors = figures.filter((other) => axis(other) === axis(figure)).map((one) => one.querySelector(".cursor"));
    const hide = () => {
      for (const one of cursors) one.classList.remove("on");
      tip.hidden = true;
    };
    const show = (at) => {
      place = Math.min(Math.max(at, 0), rows.length - 1);
      const [head, ...cells] = rows[place].cells;
      const share = (place + 0.5) / rows.length;
      for (const one of cursors) {
        one.setAttribute("x1", `${share * 100}%`);
        one.setAttribute("x2", `${share * 100}%`);
        one.classList.add("on");
      }
      tip.className = `tip ${figure.classList.contains("lines") ? "lines" : "bars"}`;
      const lines = cells.map((cell, i) => {
        const line = make("div");
        const swatch = names[i] === "calls" && i && !styles[i] ? "" : styles[i] || "swatch s0";
        line.append(make("span", "", swatch), make("span", names[i]), make("span", cell.textContent));
        return line;
      });
      if (figure.classList.contains("bars") && styles.length) lines.reverse();
      tip.replaceChildren(make("b", head.textContent), ...lines);
      tip.hidden = false;
      placeTip(stage, share);
      return `${head.textContent}: ${cells.map((cell, i) => `${names[i]} ${cell.textContent}`).join(", ")}`;
    };
    const point = (event) => {
      const box = stage.getBoundingClientRect();
      show(Math.floor(((event.clientX - box.left) / box.width) * rows.length));
    };
    stage.addEventListener("pointermove", point);
    stage.addEventListener("pointerdown", point);
    stage.addEventListener("pointerleave", hide);
    stage.addEventListener("blur", hide);
    stage.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -rows.length, End: rows.length };
      if (event.key === "Escape") hide();
      if (!(event.key in steps)) return;
      event.preventDefault();
      status.textContent = show(place < 0 ? (steps[event.key] < 0 ? rows.length - 1 : 0) : place + steps[event.key]);
    });
  };

  // Incidents: the one that is picked is marked in the strip and in every chart over time.
  const story = (number) => document.getElementById(`incident-${number}`);
  const pick = (number, { view = false, scroll = false } = {}) => {
    const card = number && story(number);
    for (const one of all(".stories > li")) {
      one.classList.toggle("on", one === card);
      one.querySelector(".show")?.setAttribute("aria-pressed", String(one === card));
    }
    document.body.dataset.picked = card ? number : "";
    for (const one of all(".picked")) {
      const apart = one.closest("figure") && !one.closest("figure").matches("#over-time figure, #cost figure, #errors figure");
      one.classList.toggle("on", Boolean(card && card.dataset.x && !apart));
      if (card && card.dataset.x) {
        one.setAttribute("x", card.dataset.x);
        one.setAttribute("width", card.dataset.width);
      }
    }
    if (!card) return;
    const wanted = view && document.getElementById(`view-${card.dataset.view}`);
    if (wanted) wanted.checked = true;
    status.textContent = `Incident ${card.querySelector("h3").textContent} is marked in the charts`;
    if (scroll) document.getElementById("over-time")?.scrollIntoView();
  };
  const pickable = (one) => one.addEventListener("click", () => {
    const numbers = one.dataset.n.split(" ");
    const next = numbers[(numbers.indexOf(document.body.dataset.picked) + 1) % numbers.length];
    pick(next === document.body.dataset.picked ? "" : next);
  });
  const copied = (button) => button.addEventListener("click", async () => {
    const command = button.closest(".command").querySelector("code");
    getSelection().selectAllChildren(command);
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "copied";
    } catch {
      document.execCommand("copy");
      button.textContent = "selected";
    }
    status.textContent = `${button.textContent}: ${command.textContent}`;
    setTimeout(() => { button.textContent = "copy"; }, 2000);
  });

  const enliven = () => {
    for (const table of all("table.sortable")) {
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        head.querySelector("button").addEventListener("click", () => clicked(table, column));
      });
    }
    const figures = all("figure.chart");
    for (const figure of figures) readable(figure, figures);
    for (const one of all("rect[data-n], text[data-n]")) pickable(one);
    for (const button of all(".copy, .show")) button.hidden = false;
    for (const button of all(".show")) {
      const card = button.closest("li");
      button.addEventListener("click", () =>
        card.classList.contains("on") ? pick("") : pick(card.dataset.n, { view: true, scroll: true }));
    }
    all(".copy").forEach(copied);
  };
  enliven();

  // Live: what is new is put in the place of what is shown, and sorting, opened parts, view and scrolling stay.
  const live = Number(document.body.dataset.live);
  const named = (one) => `${one.closest("[id]")?.id} ${all(one.tagName, one.closest("[id]") ?? document).indexOf(one)}`;
  const state = () => ({
    sorted: new Map(all("table.sortable[data-sorted]").map((one) => [one.caption.textContent, one.dataset.sorted])),
    open: new Set(all("details[open]").map(named)),
    scrolled: new Map(all(".scroll").map((one) => [named(one), [one.scrollLeft, one.scrollTop]])),
    view: document.querySelector(".views input:checked")?.id,
    picked: document.body.dataset.picked,
    focus: document.activeElement?.closest("main") ? [document.activeElement.tagName, named(document.activeElement)] : [],
    top: scrollY,
  });
  const restore = (before) => {
    for (const table of all("table.sortable")) {
      const [column, order] = (before.sorted.get(table.caption.textContent) ?? "").split(" ");
      if (order && table.tHead.rows[0].cells[column]) sort(table, Number(column), order);
    }
    for (const one of all("details")) one.open = before.open.has(named(one));
    for (const one of all(".scroll")) [one.scrollLeft, one.scrollTop] = before.scrolled.get(named(one)) ?? [0, 0];
    const view = before.view && document.getElementById(before.view);
    if (view) view.checked = true;
    if (before.picked) pick(before.picked);
    const [tag, name] = before.focus;
    if (tag) all(`main ${tag}`).find((one) => named(one) === name)?.focus({ preventScroll: true });
    scrollTo({ top: before.top, behavior: "instant" });
  };
  const show = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    const script = (page) => page.querySelector("script:last-of-type")?.textContent;
    if (script(next) !== script(document)) {
      location.reload(); // another version of the page
      return;
    }
    const before = state();
    tip.hidden = true;
    document.title = next.title;
    for (const part of ["header", "main"]) document.querySelector(part).replaceWith(next.querySelector(part));
    enliven();
    restore(before);
    status.textContent = "";
  };
  const update = async () => {
    try {
      const reply = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(30000) });
      if (!reply.ok) throw new Error(String(reply.status));
      show(await reply.text());
    } catch {
      const stamp = document.querySelector(".asof");
      if (stamp && !stamp.classList.contains("stale")) {
        stamp.classList.add("stale");
        stamp.append("; the service does not answer");
      }
    }
  };
  if (live) {
    setInterval(() => document.hidden || update(), live * 1000);
    document.addEventListener("visibilitychange", () => document.hidden || update());
  }
})();
