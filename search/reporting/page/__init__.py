"""The report as one page of HTML: sections of blocks, and the document around them."""
