"""A name that is not known is answered with those that it may have meant."""

from ephys.nearest import nearest


def test_the_most_alike_come_first() -> None:
    known = ["alexnet", "superres-gabor", "resnet50", "resnet18"]
    assert nearest("resnet16", known) == "resnet18 or resnet50 or alexnet"
    assert nearest("gabor", known) == "superres-gabor"


def test_no_more_are_named_than_asked_for() -> None:
    known = [f"vgg{depth}" for depth in range(10, 20)]
    assert len(nearest("vgg", known).split(" or ")) == 3
    assert len(nearest("vgg", known, most=5).split(" or ")) == 5


def test_where_none_is_alike_the_first_are_named() -> None:
    assert (
        nearest("xyz", iter(["contrast", "color", "size", "plaid"])) == "contrast or color or size"
    )
