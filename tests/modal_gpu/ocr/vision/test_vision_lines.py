"""Vision's words become lines: breaks, geometry, confidences, and frames that share a word."""

import pytest
from google.cloud import vision_v1
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.ocr.vision_batches import Montage, MontageLimits, Place, plan_montages
from modal_gpu.ocr.vision_lines import lines_of_places, words_of
from tests.modal_gpu.ocr.vision.stand_in import Break, SeenWord, annotation_of, word_message

ONE = Montage((Place(0, 0, 400, 200),))


def paragraph_of(*words: vision_v1.Word) -> vision_v1.TextAnnotation:
    block = vision_v1.Block(paragraphs=[vision_v1.Paragraph(words=list(words))])
    return vision_v1.TextAnnotation(pages=[vision_v1.Page(width=400, height=200, blocks=[block])])


def word(text: str, left: int, top: int, after: Break = Break.UNKNOWN, confidence: float = 0.9):
    width = 12 * len(text)
    return word_message(SeenWord(text, confidence, (left, top, left + width, top + 20)), after)


def texts(annotation: vision_v1.TextAnnotation, montage: Montage = ONE) -> list[str]:
    [lines] = lines_of_places(words_of(annotation, montage), montage)
    return [line.text for line in lines]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (Break.SPACE, ["far away"]),
        (Break.SURE_SPACE, ["far away"]),
        (Break.UNKNOWN, ["faraway"]),
        (Break.EOL_SURE_SPACE, ["far", "away"]),
        (Break.LINE_BREAK, ["far", "away"]),
        (Break.HYPHEN, ["far-", "away"]),
    ],
)
def test_a_break_defines_what_follows_a_word(after: Break, expected: list[str]):
    # The second row begins left of where the first one ends.
    same_row = len(expected) == 1
    annotation = paragraph_of(
        word("far", 10, 10, after), word("away", 60 if same_row else 10, 10 if same_row else 60)
    )
    assert texts(annotation) == expected


def test_a_missing_break_is_seen_by_the_row():
    assert texts(paragraph_of(word("over", 200, 10, Break.SPACE), word("there", 10, 60))) == ["over", "there"]


def test_a_prefix_break_stands_before_its_word():
    second = word("away", 60, 10)
    second.symbols[0].property.detected_break.type_ = Break.SPACE
    second.symbols[0].property.detected_break.is_prefix = True
    assert texts(paragraph_of(word("far", 10, 10), second)) == ["far away"]


def test_scripts_without_spaces_get_none():
    assert texts(paragraph_of(word("今天", 10, 10), word("天气", 34, 10), word("很好", 58, 10))) == [
        "今天天气很好"
    ]


def test_right_to_left_words_keep_the_order_in_which_they_are_read():
    annotation = paragraph_of(word("שלום", 200, 10, Break.SPACE), word("עולם", 140, 10))
    assert texts(annotation) == ["שלום עולם"]


def test_pieces_of_one_row_that_blocks_cut_apart_are_one_line():
    annotation = paragraph_of(word("far", 10, 10, Break.LINE_BREAK))
    annotation.pages[0].blocks.append(
        vision_v1.Block(paragraphs=[vision_v1.Paragraph(words=[word("away", 56, 11)])])
    )
    assert texts(annotation) == ["far away"]


def test_confidence_is_weighted_by_characters():
    words = [word("a", 10, 10, Break.SPACE, 0.4), word("longer", 40, 10, confidence=0.9)]
    [[line]] = lines_of_places(words_of(paragraph_of(*words), ONE), ONE)
    assert line.confidence == pytest.approx((0.4 + 6 * 0.9) / 7)


def test_without_a_words_confidence_its_symbols_count():
    one = word("ab", 10, 10)
    one.confidence = 0
    one.symbols[0].confidence, one.symbols[1].confidence = 0.5, 0.7
    [[line]] = lines_of_places(words_of(paragraph_of(one), ONE), ONE)
    assert line.confidence == pytest.approx(0.6)


def test_boxes_are_scaled_from_the_size_that_vision_saw():
    """A frame that was reduced to be sent, and normalised corners."""
    annotation = paragraph_of(word("half", 100, 50))
    [[line]] = lines_of_places(words_of(annotation, ONE), ONE)
    reduced = paragraph_of(word("half", 100, 50))
    reduced.pages[0].width, reduced.pages[0].height = 800, 400
    [[smaller]] = lines_of_places(words_of(reduced, ONE), ONE)
    assert (smaller.box.left, smaller.box.top) == (line.box.left / 2, line.box.top / 2)
    corners = [(0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (0.25, 0.5)]
    annotation.pages[0].blocks[0].paragraphs[0].words[0].bounding_box = vision_v1.BoundingPoly(
        normalized_vertices=[vision_v1.NormalizedVertex(x=x, y=y) for x, y in corners]
    )
    [[line]] = lines_of_places(words_of(annotation, ONE), ONE)
    assert (line.box.left, line.box.top, line.box.right, line.box.bottom) == (0.25, 0.25, 0.5, 0.5)


def test_a_box_that_reaches_out_of_the_image_is_cut_off():
    annotation = paragraph_of(word_message(SeenWord("edge", 0.9, (-5, -3, 60, 20))))
    [[line]] = lines_of_places(words_of(annotation, ONE), ONE)
    assert (line.box.left, line.box.top) == (0, 0)


def test_words_without_place_or_text_are_left_out():
    bare = word("bare", 10, 10)
    bare.bounding_box = vision_v1.BoundingPoly()
    assert texts(paragraph_of(bare, word(" ", 10, 60))) == []


TWO = plan_montages([(100, 400), (100, 400), (100, 400)], MontageLimits())[0]


@pytest.mark.parametrize(
    ("top", "bottom", "unsure"),
    [
        (60, 100, set()),
        (70, 104, set()),  # its box reaches a little onto the bar
        (70, 140, {0, 1}),  # over the bar
        (96, 150, {1}),  # mostly in the second frame, a third on the bar and before
        (102, 112, set()),  # a mark on the bar itself
        (60, 300, {0, 1, 2}),
    ],
)
def test_frames_that_share_a_word_are_unsure_and_no_other(top: int, bottom: int, unsure: set[int]):
    lines = [[SeenWord("sure", 0.9, (10, 250, 90, 270))], [SeenWord("shared", 0.9, (10, top, 90, bottom))]]
    annotation = annotation_of(lines, (TWO.height, TWO.width))
    found = lines_of_places(words_of(annotation, TWO), TWO)
    assert {index for index, frame in enumerate(found) if frame is None} == unsure
    if 2 not in unsure:
        assert [line.text for line in found[2]] == ["sure"]


def test_words_of_two_frames_in_one_paragraph_are_two_lines():
    """Even where Vision sees no break between them."""
    second = TWO.places[1].top
    line = [
        SeenWord("above", 0.9, (10, 70, 90, 95)),
        SeenWord("below", 0.9, (100, second + 2, 180, second + 30)),
    ]
    annotation = annotation_of([line], (TWO.height, TWO.width))
    above, below, empty = lines_of_places(words_of(annotation, TWO), TWO)
    assert [[line.text for line in lines] for lines in (above, below, empty)] == [["above"], ["below"], []]


FRAMES = st.lists(
    st.tuples(st.integers(40, 300), st.integers(40, 500), st.integers(0, 3)), min_size=1, max_size=12
)


@given(FRAMES, st.randoms(use_true_random=False))
def test_words_go_back_to_their_frames_with_their_places(frames, random):
    """Rows of a frame's own words, anywhere in it, touching its very edges included."""
    montage = plan_montages([(height, width) for height, width, _ in frames], MontageLimits())[0]
    assert len(montage.places) == len(frames)
    lines, expected = [], []
    for place, (height, width, rows) in zip(montage.places, frames, strict=True):
        row_height = height // 3
        expected.append([])
        for row in range(rows):
            left = random.randrange(width // 2)
            right = random.randrange(left + 1, width) + 1
            top, bottom = row * row_height, row * row_height + max(6, row_height - 6)
            text = f"f{place.index}r{row}"
            lines.append([SeenWord(text, 0.75, (left, place.top + top, right, place.top + bottom))])
            expected[-1].append((text, left / width, top / height, right / width, bottom / height))
    annotation = annotation_of(lines, (montage.height, montage.width))
    found = lines_of_places(words_of(annotation, montage), montage)
    assert [
        [(x.text, x.box.left, x.box.top, x.box.right, x.box.bottom) for x in frame] for frame in found
    ] == expected
    assert all(line.confidence == 0.75 for frame in found for line in frame)
