"""The nine questions are whole, and found by any part of their wording in either language."""

import dataclasses
from pathlib import Path

import pytest

from studio.theory.listed import CARDS
from studio.theory.questions import SILENT, Question, find, plain_words, questions, read

KEYS = ["A1", "A2", "A3", "B1", "B2", "B3", "C1", "C2", "C3"]
BY_KEY = {question.key: question for question in questions()}


def wordings(question: Question) -> list[str]:
    return [
        f"{question.title} {question.text}",
        f"{question.title_en} {question.text_en}",
    ]


def first(text: str) -> str:
    found = find(text)
    return found[0].key if found else "none"


def test_all_nine_are_there_in_order_with_every_field():
    assert [question.key for question in questions()] == KEYS
    for question in questions():
        for field in dataclasses.fields(question):
            value = getattr(question, field.name)
            assert value, (question.key, field.name)
            if isinstance(value, str):
                assert value == value.strip() and value.count("$") % 2 == 0, field.name
        assert set(question.cards) <= set(CARDS) and len(set(question.cards)) == len(question.cards)


def test_the_first_experiment_of_each_question_is_its_own():
    firsts = [question.cards[0] for question in questions()]
    assert firsts == [
        *("gradient", "group_size", "stability", "entropy_gradient", "clt", "exploration"),
        *("convergence", "attention", "invariance"),
    ]
    assert "off_policy" in BY_KEY["A1"].cards and "kl" in BY_KEY["B3"].cards


@pytest.mark.parametrize("key", KEYS)
def test_found_first_by_title_by_text_by_both_and_by_key(key: str):
    question = BY_KEY[key]
    exact = [question.title, question.text, question.title_en, question.text_en, key, key.lower()]
    for text in (*exact, *wordings(question), f"1. **{question.title}**: {question.text}"):
        assert first(text) == key, text
        assert first(text.upper()) == key


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("length", [3, 4, 6])
def test_found_first_by_any_words_in_a_row_that_only_it_has(key: str, length: int):
    tried = 0
    for words in map(plain_words, wordings(BY_KEY[key])):
        for start in range(len(words) - length + 1):
            part = words[start : start + length]
            others = [o for o in questions() if o.key != key]
            shared = any(
                f" {' '.join(part)} " in f" {' '.join(plain_words(w))} "
                for o in others
                for w in wordings(o)
            )
            if shared or sum(len(w) > 1 for w in set(part) - SILENT) < 2:
                continue
            tried += 1
            assert first(" ".join(part)) == key, part
    assert tried >= 10


def test_of_words_that_two_questions_share_both_are_found():
    keys = {question.key for question in find("em relação aos parâmetros")}
    assert keys == {"A1", "B1"}
    assert [question.key for question in find("tamanho do grupo")] == ["A2", "B2"]


SAMPLES = {
    "A1": ["gradient objective", "derivação gradiente", "comparing PPO's derivation"],
    "A2": ["group size cost", "custo computacional", "escolha do grupo", "precision trade-off"],
    "A3": [
        "stable without critic",
        "estabilidade sem crítico",
        "critc stability",
        "treinar estável",
    ],
    "B1": ["entropy gradient", "gradiente entropia", "entorpy gradeint", "parameters updated"],
    "B2": ["central limit theorem", "teorema do limite", "does the variance decrease with G"],
    "B3": ["exploration", "raciocinio matematico", "implicit entropy term", "explorar"],
    "C1": ["convergence proof", "prova formal", "convergance guarantees", "suposições adicionais"],
    "C2": ["attention weights", "atencao ponderada", "extensões com atenção", "group members"],
    "C3": ["policy invariance", "Sutton e Barto", "invariancia da politica", "optimal policies"],
}


@pytest.mark.parametrize(("key", "text"), [(k, t) for k, texts in SAMPLES.items() for t in texts])
def test_found_first_with_other_endings_without_accents_and_misspelt(key: str, text: str):
    assert first(text) == key


NONSENSE = [
    *("", "  ", "?!", "12345", "$$", "the of and", "como o que", "\\theta", "xyzzy plugh"),
    *("banana helicopter", "lorem ipsum dolor sit amet", "asdf qwer zxcv", "table lamp"),
    *("receita de bolo de chocolate", "how to boil an egg", "weather tomorrow in Paris"),
    *("o rato roeu a roupa do rei de roma", "the quick brown fox jumps over the lazy dog"),
    *("qual é a capital do Brasil", "preço da gasolina hoje", "training my dog"),
]


@pytest.mark.parametrize("text", NONSENSE)
def test_nothing_is_found_for_nonsense(text: str):
    assert find(text) == []


def test_a_question_within_a_letter_is_found_and_a_long_text_is_cut():
    assert first(f"Bom dia! Pergunta da prova: {BY_KEY['C2'].text} Obrigado.") == "C2"
    assert find("palavra " * 5000) == []


LINE = (
    "- {key: A1, title: t, text: t, title_en: t, text_en: t, short_en: s, short_pt: s, cards: %s}\n"
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LINE % "[gradient]" + LINE % "[nothing]", "item 2: there is no experiment nothing"),
        (LINE % "[]", "item 1: cards is empty"),
        (LINE % "gradient", "item 1: cards is empty or no list"),
        (LINE % "[gradient]" + "- key: A2\n", "item 2: lacks cards, short_en"),
        (LINE.replace("short_en: s", 'short_en: " "') % "[gradient]", "item 1: short_en is empty"),
        (LINE.replace("{", "{x: 1, ") % "[gradient]", "item 1: unknown x"),
        ("- 3\n", "item 1: not a mapping"),
        ("key: A1\n", "not a list"),
        ("- {", "q.yaml: "),
    ],
)
def test_a_malformed_file_is_refused_with_its_name_and_the_item(
    tmp_path: Path, text: str, says: str
):
    path = tmp_path / "q.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        read(path)
    assert says in str(refused.value) and str(refused.value).startswith("q.yaml")
    path.write_text(LINE % "[gradient]", encoding="utf-8")
    assert [question.cards for question in read(path)] == [("gradient",)]
