// Draws every chart of the page from the specification that stands below its place.
(() => {
  const drawn = Array.from(document.querySelectorAll("figure.chart"), async (figure) => {
    const plot = figure.querySelector(".plot");
    try {
      const spec = JSON.parse(figure.querySelector("script").textContent);
      await vegaEmbed(plot, spec, { actions: false, renderer: "svg", tooltip: { theme: "page" } });
    } catch (error) {
      plot.textContent = "This chart could not be drawn.";
      console.error(error);
    }
  });
  Promise.all(drawn).then(() => { document.documentElement.dataset.charts = "drawn"; });
})();
