"""The ground floor: catalogues, cost tables and the nouns of a request."""
