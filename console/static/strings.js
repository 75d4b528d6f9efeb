// The words scripts need come with the page, in its language.

const texts = JSON.parse(document.body.dataset.strings);

export function say(key, values = {}) {
  const text = texts[`js.${key}`] ?? texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// A rule of a control chart in words; one nobody has described is shown by its name.
export function ruleName(rule) {
  const known = texts[`rule.${rule}`];
  return known ? `${known} (${rule})` : rule;
}

export function toast(text, bad = false) {
  const box = document.getElementById("toast");
  box.textContent = text;
  box.classList.toggle("bad", bad);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { box.textContent = ""; }, bad ? 12000 : 5000);
}

export function age(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return say(`age.${unit}`, { n: Math.floor(seconds / size) });
  }
  return say("age.s", { n: Math.floor(seconds) });
}
