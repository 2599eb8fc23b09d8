"""The mapping: how the contract tables are shaped in this database, read by everything that names a column or a word."""
