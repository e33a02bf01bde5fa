// A Python editor (CodeMirror 6). Python gets the text as state `draft` (a moment after typing and
// when the focus leaves), trigger `run` on Ctrl-Enter and trigger `save` on Ctrl-S. What is typed is
// also kept in this tab, and comes back when the page is reloaded or left before Python heard of it.
import { autocompletion, closeBrackets, closeBracketsKeymap, completeFromList, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python, pythonLanguage } from "@codemirror/lang-python";
import { HighlightStyle, bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import { EditorView, drawSelection, dropCursor, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { mountOnce } from "./shared.js";

const DEBOUNCE_MS = 500;
const DRAFT_KEY = "grpo-studio-draft";
const instances = new WeakMap();

// Streamlit's theme colours as CSS variables: light and dark follow without a word from us.
const highlighting = HighlightStyle.define([
  { tag: [tags.keyword, tags.controlKeyword, tags.operatorKeyword, tags.definitionKeyword, tags.moduleKeyword], color: "var(--st-violet-text-color)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--st-green-text-color)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--st-orange-text-color)" },
  { tag: tags.comment, color: "var(--st-gray-text-color)", fontStyle: "italic" },
  { tag: [tags.function(tags.definition(tags.variableName)), tags.function(tags.variableName)], color: "var(--st-blue-text-color)" },
  { tag: [tags.className, tags.definition(tags.className)], color: "var(--st-yellow-text-color)" },
  { tag: tags.invalid, color: "var(--st-red-text-color)" },
]);

const theme = EditorView.theme({
  "&": {
    backgroundColor: "var(--st-background-color)", color: "var(--st-text-color)",
    border: "1px solid var(--st-border-color)", borderRadius: "var(--st-base-radius)",
    fontSize: "13.5px", overflow: "hidden",
  },
  "&.cm-focused": { outline: "none", borderColor: "var(--st-primary-color)" },
  ".cm-scroller": { fontFamily: "var(--st-code-font)", lineHeight: "1.55", overflow: "auto" },
  ".cm-content": { caretColor: "var(--st-text-color)", padding: "8px 0" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--st-text-color)" },
  ".cm-gutters": {
    backgroundColor: "var(--st-secondary-background-color)", color: "var(--st-gray-text-color)",
    borderRight: "1px solid var(--st-border-color)",
  },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--st-text-color) 5%, transparent)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "color-mix(in srgb, var(--st-primary-color) 25%, transparent)",
  },
  ".cm-selectionMatch": { backgroundColor: "color-mix(in srgb, var(--st-primary-color) 15%, transparent)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "color-mix(in srgb, var(--st-primary-color) 22%, transparent)", outline: "none" },
  ".cm-tooltip, .cm-panels": {
    backgroundColor: "var(--st-background-color)", color: "var(--st-text-color)",
    border: "1px solid var(--st-border-color)", borderRadius: "6px",
  },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--st-primary-color)", color: "#fff" },
  ".cm-completionDetail": { fontStyle: "normal", opacity: ".7" },
  ".cm-diagnostic": { fontFamily: "var(--st-font)", whiteSpace: "pre-wrap" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--st-red-color)" },
  ".cm-diagnostic-warning": { borderLeftColor: "var(--st-orange-color)" },
  ".cm-lintRange-warning": { backgroundImage: "none", borderBottom: "2px dotted var(--st-orange-color)" },
  ".cm-lintRange-error": { backgroundImage: "none", borderBottom: "2px dotted var(--st-red-color)" },
  ".cm-lint-line-error": { backgroundColor: "color-mix(in srgb, var(--st-red-color) 10%, transparent)" },
});

export default function (component) {
  return mountOnce(instances, component, make, update);
}

function make(component) {
  const { data, parentElement } = component;
  const host = document.createElement("div");
  parentElement.append(host);
  const instance = { component, revision: data.revision, words: data.words, problems: "", timer: 0 };
  let sent = null;
  const flush = (_, kept) => {
    clearTimeout(instance.timer);
    const text = instance.view.state.doc.toString();
    if (text === sent) return;
    sent = text;
    // With its revision: Python tells a draft of the text it replaced meanwhile from one of this.
    instance.component.setStateValue("draft", { text, revision: instance.revision, kept });
  };
  instance.flush = flush;
  const trigger = (name) => () => {
    flush();
    instance.component.setTriggerValue(name, Date.now());
    return true;
  };
  instance.extensions = [
        lineNumbers(), highlightActiveLineGutter(), highlightSpecialChars(), history(), drawSelection(),
        dropCursor(), EditorState.allowMultipleSelections.of(true), indentOnInput(), bracketMatching(),
        closeBrackets(), highlightActiveLine(), highlightSelectionMatches(), indentUnit.of("    "),
        syntaxHighlighting(highlighting), python(), autocompletion(), lintGutter(),
        EditorView.lineWrapping, theme,
        pythonLanguage.data.of({ autocomplete: (context) => completeFromList(instance.words)(context) }),
        EditorView.contentAttributes.of({ "aria-label": "Reward code" }),
        EditorView.theme({ "&": { height: `${data.height}px` } }),
        keymap.of([
          { key: "Mod-Enter", preventDefault: true, run: trigger("run") },
          { key: "Mod-s", preventDefault: true, run: trigger("save") },
          ...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap,
          ...completionKeymap, ...lintKeymap, indentWithTab,
        ]),
        EditorView.updateListener.of((change) => {
          if (!change.docChanged) return;
          clearTimeout(instance.timer);
          instance.timer = setTimeout(flush, DEBOUNCE_MS);
          keep(instance);
        }),
        // A click on a button of the page takes the focus first: it then runs what is on screen. Not
        // on a link: what Python is told then would hold it up, and the text is kept here anyway.
        EditorView.domEventHandlers({
          blur: (event) => {
            if (!event.relatedTarget?.closest?.("a")) flush();
            return false;
          },
        }),
  ];
  instance.view = new EditorView({
    parent: host,
    root: parentElement.getRootNode(),
    state: EditorState.create({ doc: data.code, extensions: instance.extensions }),
  });
  sent = data.code;
  const lost = whatWasLost(data);
  if (lost) {
    show(instance, lost.text);
    setTimeout(() => flush(null, lost.kept)); // when Python has heard that the editor is there
  }
  instance.destroy = () => {
    clearTimeout(instance.timer);
    instance.view.destroy();
  };
  instance.reset = (text) => { sent = text; };
  return instance;
}

function update(instance) {
  const { data } = instance.component;
  const { view } = instance;
  instance.words = data.words;
  if (instance.isKept && data.revision === instance.revision) keep(instance); // with the newest weights
  if (data.revision !== instance.revision) {
    instance.revision = data.revision;
    clearTimeout(instance.timer);
    instance.reset(data.code);
    show(instance, data.code);
    forget(instance);
  }
  // Only when they changed: the marks then stay on their lines while one types.
  const problems = JSON.stringify(data.problems);
  if (problems !== instance.problems) {
    instance.problems = problems;
    view.dispatch(setDiagnostics(view.state, data.problems.map((problem) => mark(view.state.doc, problem))));
  }
  view.dom.dataset.problems = String(data.problems.length);
}

/** Another text, with a history of its own: undo must not bring a text back under another's name. */
function show(instance, text) {
  instance.view.setState(EditorState.create({ doc: text, extensions: instance.extensions }));
  instance.problems = "";
}

function keep(instance) {
  const { view, component: { data } } = instance;
  instance.isKept = true;
  const draft = { text: view.state.doc.toString(), revision: data.revision, kept: data.kept };
  try { sessionStorage.setItem(DRAFT_KEY, JSON.stringify(draft)); } catch { /* private window: not kept */ }
}

function forget(instance) {
  instance.isKept = false;
  try { sessionStorage.removeItem(DRAFT_KEY); } catch { /* there is none */ }
}

/** What was typed in this tab and Python does not know: it was reloaded, or left too quickly. */
function whatWasLost(data) {
  let draft = null;
  try { draft = JSON.parse(sessionStorage.getItem(DRAFT_KEY)); } catch { return null; }
  if (!draft || draft.text === data.code) return null;
  if (draft.kept.session !== data.kept.session) return { text: draft.text, kept: draft.kept };
  // Within a session Python knows the text but for its last moments; what it has replaced is over.
  return draft.revision === data.revision ? { text: draft.text } : null;
}

function mark(doc, problem) {
  const line = doc.line(Math.min(Math.max(1, problem.line), doc.lines));
  const indent = line.text.length - line.text.trimStart().length;
  return {
    from: Math.min(line.from + indent, line.to),
    to: line.to,
    severity: problem.severity ?? "error",
    message: problem.message,
  };
}
