// Turns the static pictures into ones that can be zoomed, in the colours of the theme. Loads nothing.
(() => {
  "use strict";
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const palette = JSON.parse(document.getElementById("palette").textContent);
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isNarrow = matchMedia("(max-width: 640px)");
  const zoomed = new Set();

  const theme = () => root.dataset.theme || (prefersDark.matches ? "dark" : "light");

  // "@main/20" -> the colour of that role in this theme, 20 % opaque.
  const colour = (name) => {
    const match = /^@([a-z0-9]+)(?:\/(\d+))?$/.exec(name);
    const hex = match && palette[theme()][match[1]];
    if (!hex) return name;
    if (!match[2]) return hex;
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${red},${green},${blue},${Number(match[2]) / 100})`;
  };

  const painted = (value) => {
    if (typeof value === "string") return value.startsWith("@") ? colour(value) : value;
    if (Array.isArray(value)) return value.map(painted);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item)]));
  };

  // Our own ticks serve the whole picture; a part of it gets plotly's, except on the symlog axis, which it lacks.
  const freeTicks = (axis) => {
    delete axis.tickvals;
    delete axis.ticktext;
  };

  // Names stand at the ends of the lines; where there is no room for them, or after a zoom, in a legend.
  const fitted = (name) => {
    const { data, layout } = painted(figures[name]);
    layout.uirevision = "kept";
    if (isNarrow.matches || zoomed.has(name)) {
      layout.annotations = layout.annotations
        .filter((note) => note.name !== "end" && !(note.name === "level" && zoomed.has(name)))
        .map((note) => (note.name === "level" ? { ...note, x: 1, xanchor: "right", yanchor: "bottom" } : note));
      layout.showlegend = data.filter((trace) => trace.showlegend !== false).length > 1;
      layout.margin = { ...layout.margin, r: 14 };
    }
    if (zoomed.has(name)) [layout.xaxis, layout.yaxis].filter((axis) => axis !== layout.yaxis || layout.meta !== "symlog").forEach(freeTicks);
    if (layout.showlegend && layout.margin.r === 14) {
      layout.legend = { orientation: "h", x: 0, xanchor: "left", y: 1.01, yanchor: "bottom", traceorder: "normal" };
      layout.margin.t = 40;
    }
    if (isNarrow.matches) {
      layout.dragmode = false;
      layout.margin.l = 30;
      layout.yaxis.automargin = true;
      layout.font.size = 11;
      thinTicks(layout.xaxis);
      layout.yaxis.title.standoff = 4;
    }
    return { data, layout };
  };

  const thinTicks = (axis) => {
    if (!axis.tickvals || axis.tickvals.length < 6) return;
    axis.tickvals = axis.tickvals.filter((_, index) => index % 2 === 0);
    axis.ticktext = axis.ticktext.filter((_, index) => index % 2 === 0);
  };

  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };

  const draw = (place) => {
    const name = place.dataset.chart;
    place.closest(".plot").classList.add("is-live");
    const { data, layout } = fitted(name);
    return Plotly.react(place, data, layout, { ...config, displayModeBar: isNarrow.matches ? false : "hover" });
  };

  const watchZoom = (place) => {
    place.on("plotly_relayout", (change) => {
      const name = place.dataset.chart;
      const keys = Object.keys(change);
      const isZoom = keys.some((key) => /^[xy]axis\.range/.test(key));
      if (!isZoom) return;
      const { xaxis, yaxis } = figures[name].layout;
      const now = place.layout;
      const isHome = [[xaxis, now.xaxis], [yaxis, now.yaxis]].every(([home, here]) =>
        home.range.every((end, index) => Math.abs(end - here.range[index]) < 1e-9 * (1 + Math.abs(end))));
      if (isHome === !zoomed.has(name)) return;
      isHome ? zoomed.delete(name) : zoomed.add(name);
      draw(place);
    });
  };

  const places = [...document.querySelectorAll(".live")];
  const drawAll = () => root.dataset.ready && places.forEach(draw);

  const button = document.getElementById("theme");
  const label = () => {
    const other = theme() === "dark" ? "light" : "dark";
    button.textContent = other === "dark" ? "Dark" : "Light";
    button.setAttribute("aria-label", `Switch to ${other} colours`);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("theodolite-theme", root.dataset.theme);
    } catch (error) {
      // Not remembered, only shown.
    }
    label();
    drawAll();
  });
  label();
  prefersDark.addEventListener("change", () => { label(); drawAll(); });
  isNarrow.addEventListener("change", drawAll);

  // One picture at a time, so that the page answers while they are drawn.
  const next = (index) => {
    if (index === places.length) {
      root.dataset.ready = "true";
      return;
    }
    draw(places[index]).then(() => {
      watchZoom(places[index]);
      setTimeout(next, 0, index + 1);
    });
  };
  unpackPlotly().then(() => next(0)).catch(() => {
    document.getElementById("still").hidden = false;
  });
})();
