from lit_rec.baselines.popularity import Popularity


def test_orders_are_counted_the_same_for_everyone(build):
    fitted = build.fitted(Popularity(), 4, [[0, 2], [2, 2]], [[2], [3], [0]])
    scores = fitted.scores(build.queries([], [[1], [3]]))
    assert scores.tolist() == [[2, 0, 3, 1], [2, 0, 3, 1]]
