import pytest
from pymongo.errors import DuplicateKeyError

from sprayer_project import mongo

pytestmark = pytest.mark.services


def test_writes_follow_the_indexes_that_are_there_now() -> None:
    rows = mongo.database()["listed"]
    rows.insert_many([{"_id": 1, "a": 1}, {"_id": 2, "a": 2}])
    rows.create_index("a", name="by_a", unique=True)
    with pytest.raises(DuplicateKeyError):
        rows.update_one({"_id": 2}, {"$set": {"a": 1}})
    rows.update_many({}, {"$mul": {"a": 10}})
    rows.insert_one({"_id": 3, "a": 30})
    assert [found["_id"] for found in rows.find({"a": {"$gte": 10}}, sort=[("a", 1)])] == [1, 2, 3]
    rows.update_one({"_id": 2}, {"$set": {"a": [40, 50]}})
    assert [found["_id"] for found in rows.find({"a": 50})] == [2]
    rows.drop_index("by_a")
    rows.update_one({"_id": 3}, {"$set": {"a": 10}})
    assert rows.count_documents({"a": 10}) == 2
    rows.drop()
