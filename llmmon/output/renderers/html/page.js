(() => {
  "use strict";
  const status = document.querySelector(".status");
  const tip = document.querySelector(".tip");

  // Tables: a click on a head sorts, a second one turns the order; rows without a value stay last.
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? (a < b ? -1 : a > b ? 1 : 0) : x - y;
  };
  const sort = (table, head, column) => {
    const now = head.getAttribute("aria-sort");
    const first = head.classList.contains("n") ? "descending" : "ascending";
    const order = now === "descending" ? "ascending" : now === "ascending" ? "descending" : first;
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row, at) => [row.cells[column].dataset.v, at, row]);
    keyed.sort(([a, i], [b, j]) =>
      a === undefined || b === undefined
        ? (a === undefined) - (b === undefined) || i - j
        : sign * compare(a, b) || i - j);
    body.append(...keyed.map((entry) => entry[2]));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    status.textContent = `${table.caption.textContent} sorted by ${head.textContent}, ${order}`;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => sort(table, head, column));
    });
  }

  // Charts: the pointer, or the arrow keys, read the values out of the chart's table.
  const make = (name, text, style) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (style) made.className = style;
    return made;
  };
  const placeTip = (stage, share) => {
    const box = stage.getBoundingClientRect();
    const at = box.left + share * box.width;
    const right = at + 14 + tip.offsetWidth < document.documentElement.clientWidth;
    const left = right ? at + 14 : Math.max(4, at - 14 - tip.offsetWidth);
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${box.top + scrollY + 6}px`;
  };
  for (const figure of document.querySelectorAll("figure.chart")) {
    const stage = figure.querySelector(".stage");
    const table = figure.querySelector("table.values");
    const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
    const rows = table.tBodies[0].rows;
    let place = -1;
    // charts over the same stretches of time are read at the same place
    const cursors = [...document.querySelectorAll("figure.chart")]
      .filter((other) => {
        const others = other.querySelector("table.values").tBodies[0].rows;
        return others.length === rows.length && others[0].cells[0].textContent === rows[0].cells[0].textContent;
      })
      .map((other) => other.querySelector(".cursor"));
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
      tip.className = `tip ${figure.className.replace("chart", "")}`;
      const lines = cells.map((cell, i) => {
        const line = make("div");
        line.append(make("span", "", `swatch s${i}`), make("span", names[i]), make("span", cell.textContent));
        return line;
      });
      if (figure.classList.contains("bars")) lines.reverse();
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
  }
})();
