"""The report of a run: records that workers write as JSON lines, one HTML file made of them."""
