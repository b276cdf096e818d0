// Draws the figures of this page in the colours of the theme that the system asks for. Loads nothing.
(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  const palette = read("palette");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isNarrow = matchMedia("(max-width: 640px)");

  // "@main/20" -> the colour of that role in this theme, 20 % opaque.
  const colour = (name) => {
    const match = /^@([a-z0-9]+)(?:\/(\d+))?$/.exec(name);
    const hex = match && palette[prefersDark.matches ? "dark" : "light"][match[1]];
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

  // On a phone the names at the ends of lines have no room: they go into a legend.
  const fitted = (figure) => {
    const { data, layout, frames } = painted(figure);
    if (isNarrow.matches && layout.annotations) {
      layout.annotations = layout.annotations.filter((note) => note.name !== "end");
      layout.showlegend = data.filter((trace) => trace.showlegend !== false).length > 1;
      layout.legend = { orientation: "h", x: 0, xanchor: "left", y: 1.07, yanchor: "bottom" };
      layout.margin = { ...layout.margin, l: 40, r: 14, t: 60 };
    }
    return { data, layout, frames };
  };

  const draw = (place) => {
    const { data, layout, frames } = fitted(figures[Number(place.dataset.figure)]);
    const config = { responsive: true, displaylogo: false, displayModeBar: isNarrow.matches ? false : "hover" };
    return Plotly.newPlot(place, { data, layout, frames, config });
  };

  const drawAll = () => Promise.all([...document.querySelectorAll("[data-figure]")].map(draw)).then(() => {
    document.documentElement.dataset.ready = "true";
  });

  unpackPlotly().then(() => {
    prefersDark.addEventListener("change", drawAll);
    isNarrow.addEventListener("change", drawAll);
    return drawAll();
  }).catch((error) => {
    for (const place of document.querySelectorAll("[data-figure]")) {
      place.textContent = `The picture cannot be drawn here: ${error.message}. It needs a browser of 2023 or later.`;
    }
    throw error;
  });
})();
