"""Tables as a reader wants them."""

import pandas as pd

from faceworkbook.reports import tables


def test_no_p_value_is_nought():
    table = pd.DataFrame({"gap_p": [0.0004, 0.5, None], "p_holm": [1, 0.0212, 0], "share": [0.0004, 1, 2]})
    page = tables.to_html(table)
    assert page.count("&lt;&nbsp;0.001") == 2
    assert "0.021" in page and "–" in page and '<td class="number">0.000</td>' in page
