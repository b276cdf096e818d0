// Plotly stands in this page compressed. What is unpacked is code that the policy of the page knows by its sum.
const unpackPlotly = async () => {
  "use strict";
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent), (one) => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
};
