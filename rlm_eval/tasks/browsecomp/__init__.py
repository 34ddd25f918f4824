"""Questions over several documents: BrowseComp-Plus and generated ones."""
