"""The messages of a growing text: always the split of the text, and the earlier ones at rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rendering_texts import MARKDOWN, PLATFORMS, documents

from echo_actors.rendering import Change, GrowingMessages, Platform, Unit, pieces, split

SMALL = Platform("small", 64, Unit.CODE_POINTS)
LONG = st.lists(st.one_of(MARKDOWN, documents().map(lambda document: document.text)), max_size=5).map("".join)


class Channel:
    """Makes changes, as a bot would in a channel."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.changed: list[int] = []

    def make(self, change: Change) -> None:
        """Send, edit or delete a message."""
        self.changed.append(change.index)
        if change.new:
            assert change.index == len(self.messages)
            assert change.text
            self.messages.append(change.text)
        elif change.text is None:
            assert change.index == len(self.messages) - 1
            self.messages.pop()
        else:
            assert self.messages[change.index] != change.text
            self.messages[change.index] = change.text


@given(LONG, PLATFORMS, st.data())
def test_the_messages_are_always_the_split_of_the_text(text: str, platform: Platform, data: st.DataObject) -> None:
    """However the text is cut into updates."""
    growing, channel = GrowingMessages(platform), Channel()
    lengths = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
    for length in [*lengths, len(text)]:
        for change in growing.update(text[:length]):
            channel.make(change)
        assert channel.messages == split(text[:length], platform)


@given(LONG, LONG, PLATFORMS)
def test_a_piece_is_settled_once_the_text_goes_on_for_three_limits(text: str, more: str, platform: Platform) -> None:
    """Nothing that follows can change it."""
    longer = list(pieces(text + more, platform))
    for index, piece in enumerate(pieces(text, platform)):
        if piece.start + 3 * platform.limit <= len(text.rstrip()):
            assert longer[index] == piece


def test_only_the_last_message_changes_while_ordinary_text_grows() -> None:
    """A word at a time."""
    growing, channel = GrowingMessages(SMALL), Channel()
    for count in range(100):
        for change in growing.update("word " * count):
            channel.make(change)
    assert channel.changed == sorted(channel.changed)


def test_a_text_that_is_not_longer_is_taken_too() -> None:
    """Messages for which nothing is left are deleted, the last one first."""
    growing = GrowingMessages(SMALL)
    assert len(list(growing.update("word " * 30))) == 3
    assert list(growing.update("other")) == [
        Change(0, "other", new=False),
        Change(2, None, new=False),
        Change(1, None, new=False),
    ]
    assert list(growing.update("other")) == []


def test_a_change_that_could_not_be_made_comes_again() -> None:
    """Whoever leaves the loop by an error has not made it."""
    growing = GrowingMessages(SMALL)
    text = "word " * 30
    made = [next(growing.update(text))]
    made.extend(growing.update(text))
    assert [change.index for change in made] == [0, 0, 1, 2]
    assert all(change.new for change in made)


def test_settled_text_is_not_split_again() -> None:
    """So that a long answer costs little at its end."""
    growing = GrowingMessages(SMALL)
    text = "One paragraph.\n\n" * 100
    list(growing.update(text))
    assert len(text) - growing._start < 5 * SMALL.limit
