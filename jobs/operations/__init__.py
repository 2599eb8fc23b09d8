"""Operations on single jobs by a person: plan, preview and carry out."""
