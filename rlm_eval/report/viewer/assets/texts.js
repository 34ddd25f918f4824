// Texts of a trajectory: code with colours, slices of the context, prompts, folds. Only text nodes.
const WORDS = new Set(("False None True and as assert async await break class continue def del elif else " +
  "except finally for from global if import in is lambda nonlocal not or pass raise return try while with " +
  "yield print len range").split(" "));
const TOKEN = /("""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(#[^\n]*)|([A-Za-z_]\w*)|(\d[\d_.]*)/g;
const Python = ({ code }) => {
  const parts = [];
  let last = 0;
  for (const match of code.matchAll(TOKEN)) {
    const kind = match[1] ? "s" : match[2] ? "c" : match[4] ? "n" : WORDS.has(match[3]) ? "k" : null;
    if (!kind) continue;
    parts.push(code.slice(last, match.index), h("span", { class: kind }, match[0]));
    last = match.index + match[0].length;
  }
  return h("pre", { class: "code" }, parts, code.slice(last));
};
const reader = (texts) => (number) => {
  if (number === null || number === undefined) return "";
  const text = texts[number];
  if (typeof text === "string") return text;
  const why = text.protected ? "protected, not shown" : "cut here; rlm-eval view shows all of it";
  return `${text.head}[… ${text.chars} characters, ${text.hash}: ${why}]`;
};
// What is folded is made when it is opened: a trajectory may have thousands of calls.
const Fold = ({ title, open, children, ...rest }) => {
  const [isOpen, setOpen] = useState(Boolean(open));
  useEffect(() => { if (open) setOpen(true); }, [open]);
  return h("details", { ...rest, open: isOpen, onToggle: (event) => setOpen(event.currentTarget.open) },
    h("summary", {}, title), isOpen ? children() : null);
};
const Slice = ({ item, texts, start, end }) => {
  const [text, setText] = useState(null);
  let shown = text;
  for (const [from, to, number] of item.read) {
    if (shown === null && from <= start && end <= to && number !== null) {
      const known = texts[number];
      const all = typeof known === "string" ? known : known.head;
      const cut = all.slice(start - from, end - from);
      shown = cut + (cut.length < end - start && typeof known !== "string" ? "[… cut here; rlm-eval view shows all of it]" : "");
    }
  }
  const words = `${end - start} characters of the context`;
  const read = async () => setText((await ask("context", { sample: item.key, start, end })).text);
  return h("span", { class: "slice" }, h("span", { class: "place" }, `⟦context ${start}–${end}⟧ `),
    shown !== null ? shown : isServed && data.contexts ? h("button", { onClick: read }, `[${words}]`)
      : `[${words}: text not at hand]`);
};
const Prompt = ({ item, call, texts }) => {
  const read = reader(texts);
  return call.prompt.map(([role, parts]) => h("div", {}, h("span", { class: "head" }, role),
    h("pre", {}, parts.map((part) => Array.isArray(part)
      ? h(Slice, { item, texts, start: part[0], end: part[1] }) : read(part)))));
};
const STRETCH = 20000;
const WholeContext = ({ item }) => {
  const [at, setAt] = useState({ start: 0, text: null });
  const jump = useRef();
  const move = async (to) => {
    const start = Math.max(0, Math.min(to || 0, item.context.chars - 1));
    setAt({ start, text: (await ask("context", { sample: item.key, start, end: start + STRETCH })).text });
  };
  useEffect(() => { move(0); }, []);
  return [
    h("button", { onClick: () => move(at.start - STRETCH), title: "back" }, "‹"),
    h("button", { onClick: () => move(at.start + STRETCH), title: "on" }, "›"),
    h("input", { type: "number", min: 0, ref: jump, placeholder: "character" }),
    h("button", { onClick: () => move(Number(jump.current.value)) }, "go"),
    item.evidence.map(([start]) => h("button", { onClick: () => move(start - 500) }, `evidence at ${start}`)),
    h("span", { class: "note" }, ` from ${at.start} of ${item.context.chars}`),
    h("pre", { class: "whole" }, at.text === null ? "…" : at.text),
  ];
};
