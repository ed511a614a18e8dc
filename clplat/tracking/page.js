// Put before MLflow's own scripts by clplat.tracking.page, after `const clplat = {colours, words}`.
(() => {
  // What a browser that was never here starts with; what a user has chosen stays.
  const defaults = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.telemetry.info.alert.dismissed_v1": true,
    "mlflow.settings.telemetry.enabled_v1": false,
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": true,
    "mlflow.home.getting-started.collapsed_v1": true,
  };
  try {
    for (const [key, value] of Object.entries(defaults)) {
      if (localStorage.getItem(key) === null) localStorage.setItem(key, JSON.stringify(value));
    }
    const chosen = JSON.parse(localStorage.getItem("experimentRunColors") || "{}");
    localStorage.setItem("experimentRunColors", JSON.stringify({ ...clplat.colours, ...chosen }));
  } catch {
    // a browser that keeps nothing: MLflow opens as it does by itself
  }

  const keys = Object.keys(clplat.words).join("|").replaceAll("/", "\\/");
  const known = new RegExp(`(?<![\\w\\/.])(?:${keys}|cl\\/([A-Za-z_]*[A-Za-z])(\\d+))(?![\\w\\/])`, "g");
  const say = (text) => {
    if (!text.data.includes("/") || text.parentElement?.closest("code, pre, textarea, script, style")) return;
    const words = text.data.replace(known, (key, metric, k) => clplat.words[key] || `mean ${metric}@${k}`);
    if (words !== text.data) text.data = words;
  };
  const sayAll = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return say(node);
    const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) say(walker.currentNode);
  };
  new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "characterData") say(change.target);
      else change.addedNodes.forEach(sayAll);
    }
  }).observe(document, { subtree: true, childList: true, characterData: true });
})();
