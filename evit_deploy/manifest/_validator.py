# SPDX-License-Identifier: Apache-2.0
# Generated from schema.json by tools/make_validator.py (fastjsonschema). Do not edit.
# ruff: noqa
# mypy: ignore-errors
"""Validators of manifest.json: of an artifact, and of a bundle."""
import re


class SchemaError(ValueError):
    """A manifest that breaks the schema; says where and what was expected."""


from decimal import Decimal


REGEX_PATTERNS = {
    '^[a-z]+(-[0-9]+)?$': re.compile('^[a-z]+(-[0-9]+)?\\Z'),
    '^[0-9a-f]{64}$': re.compile('^[0-9a-f]{64}\\Z')
}

NoneType = type(None)

def validate(data, custom_formats={}, name_prefix=None):
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data_keys = set(data.keys())
        if "manifest" in data_keys:
            data_keys.remove("manifest")
            data__manifest = data["manifest"]
            validate___definitions_manifest(data__manifest, custom_formats, (name_prefix or "data") + ".manifest")
        if "bundle" in data_keys:
            data_keys.remove("bundle")
            data__bundle = data["bundle"]
            validate___definitions_bundle(data__bundle, custom_formats, (name_prefix or "data") + ".bundle")
    return data

def validate___definitions_bundle(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (dict)):
        raise SchemaError("" + (name_prefix or "data") + " must be object")
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['schema', 'kind', 'key', 'created', 'tool', 'model', 'weights', 'parts', 'agreement', 'warnings']) - data.keys()
        if data__missing_keys:
            raise SchemaError("" + (name_prefix or "data") + " must contain " + (str(sorted(data__missing_keys)) + " properties"))
        data_keys = set(data.keys())
        if "schema" in data_keys:
            data_keys.remove("schema")
            data__schema = data["schema"]
            if not (isinstance(data__schema, (int, float)) and not isinstance(data__schema, bool) and data__schema == 1):
                raise SchemaError("" + (name_prefix or "data") + ".schema must be one of [1]")
        if "kind" in data_keys:
            data_keys.remove("kind")
            data__kind = data["kind"]
            if not (isinstance(data__kind, str) and data__kind == 'export' or isinstance(data__kind, str) and data__kind == 'engine'):
                raise SchemaError("" + (name_prefix or "data") + ".kind must be one of ['export', 'engine']")
        if "key" in data_keys:
            data_keys.remove("key")
            data__key = data["key"]
            validate___definitions_sha256(data__key, custom_formats, (name_prefix or "data") + ".key")
        if "created" in data_keys:
            data_keys.remove("created")
            data__created = data["created"]
            if not isinstance(data__created, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".created must be string")
        if "tool" in data_keys:
            data_keys.remove("tool")
            data__tool = data["tool"]
            if not isinstance(data__tool, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".tool must be string")
        if "model" in data_keys:
            data_keys.remove("model")
            data__model = data["model"]
            validate___definitions_model(data__model, custom_formats, (name_prefix or "data") + ".model")
        if "weights" in data_keys:
            data_keys.remove("weights")
            data__weights = data["weights"]
            validate___definitions_weights(data__weights, custom_formats, (name_prefix or "data") + ".weights")
        if "parts" in data_keys:
            data_keys.remove("parts")
            data__parts = data["parts"]
            if not isinstance(data__parts, (dict)):
                raise SchemaError("" + (name_prefix or "data") + ".parts must be object")
            data__parts_is_dict = isinstance(data__parts, dict)
            if data__parts_is_dict:
                data__parts_len = len(data__parts)
                if data__parts_len < 1:
                    raise SchemaError("" + (name_prefix or "data") + ".parts must contain at least 1 properties")
                data__parts_keys = set(data__parts.keys())
                for data__parts_key in data__parts_keys:
                    if data__parts_key not in []:
                        data__parts_value = data__parts.get(data__parts_key)
                        if not isinstance(data__parts_value, (dict)):
                            raise SchemaError("" + (name_prefix or "data") + ".parts.{data__parts_key}".format(**locals()) + " must be object")
                        data__parts_value_is_dict = isinstance(data__parts_value, dict)
                        if data__parts_value_is_dict:
                            data__parts_value__missing_keys = set(['key', 'manifest']) - data__parts_value.keys()
                            if data__parts_value__missing_keys:
                                raise SchemaError("" + (name_prefix or "data") + ".parts.{data__parts_key}".format(**locals()) + " must contain " + (str(sorted(data__parts_value__missing_keys)) + " properties"))
                            data__parts_value_keys = set(data__parts_value.keys())
                            if "key" in data__parts_value_keys:
                                data__parts_value_keys.remove("key")
                                data__parts_value__key = data__parts_value["key"]
                                validate___definitions_sha256(data__parts_value__key, custom_formats, (name_prefix or "data") + ".parts.{data__parts_key}.key".format(**locals()))
                            if "manifest" in data__parts_value_keys:
                                data__parts_value_keys.remove("manifest")
                                data__parts_value__manifest = data__parts_value["manifest"]
                                validate___definitions_sha256(data__parts_value__manifest, custom_formats, (name_prefix or "data") + ".parts.{data__parts_key}.manifest".format(**locals()))
                            if data__parts_value_keys:
                                raise SchemaError("" + (name_prefix or "data") + ".parts.{data__parts_key}".format(**locals()) + " must not contain "+str(data__parts_value_keys)+" properties")
                if data__parts_len != 0:
                    data__parts_property_names = True
                    for data__parts_key in data__parts:
                        try:
                            if isinstance(data__parts_key, str):
                                if not REGEX_PATTERNS['^[a-z]+(-[0-9]+)?$'].search(data__parts_key):
                                    raise SchemaError("" + (name_prefix or "data") + ".parts must match pattern ^[a-z]+(-[0-9]+)?$")
                        except SchemaError:
                            data__parts_property_names = False
                    if not data__parts_property_names:
                        raise SchemaError("" + (name_prefix or "data") + ".parts must be named by propertyName definition")
        if "agreement" in data_keys:
            data_keys.remove("agreement")
            data__agreement = data["agreement"]
            validate___definitions_agreement(data__agreement, custom_formats, (name_prefix or "data") + ".agreement")
        if "warnings" in data_keys:
            data_keys.remove("warnings")
            data__warnings = data["warnings"]
            if not isinstance(data__warnings, (list, tuple)):
                raise SchemaError("" + (name_prefix or "data") + ".warnings must be array")
            data__warnings_is_list = isinstance(data__warnings, (list, tuple))
            if data__warnings_is_list:
                data__warnings_len = len(data__warnings)
                for data__warnings_x, data__warnings_item in enumerate(data__warnings):
                    if not isinstance(data__warnings_item, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".warnings[{data__warnings_x}]".format(**locals()) + " must be string")
        if data_keys:
            raise SchemaError("" + (name_prefix or "data") + " must not contain "+str(data_keys)+" properties")
    return data

def validate___definitions_agreement(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (dict)):
        raise SchemaError("" + (name_prefix or "data") + " must be object")
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['against', 'passed', 'budget', 'frames']) - data.keys()
        if data__missing_keys:
            raise SchemaError("" + (name_prefix or "data") + " must contain " + (str(sorted(data__missing_keys)) + " properties"))
        data_keys = set(data.keys())
        if "against" in data_keys:
            data_keys.remove("against")
            data__against = data["against"]
            if not isinstance(data__against, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".against must be string")
        if "method" in data_keys:
            data_keys.remove("method")
            data__method = data["method"]
            if not isinstance(data__method, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".method must be string")
        if "passed" in data_keys:
            data_keys.remove("passed")
            data__passed = data["passed"]
            if not isinstance(data__passed, (bool)):
                raise SchemaError("" + (name_prefix or "data") + ".passed must be boolean")
        if "budget" in data_keys:
            data_keys.remove("budget")
            data__budget = data["budget"]
            if not isinstance(data__budget, (dict)):
                raise SchemaError("" + (name_prefix or "data") + ".budget must be object")
            data__budget_is_dict = isinstance(data__budget, dict)
            if data__budget_is_dict:
                data__budget__missing_keys = set(['relative_l2', 'class_agreement', 'conceded_margin', 'confidence_error']) - data__budget.keys()
                if data__budget__missing_keys:
                    raise SchemaError("" + (name_prefix or "data") + ".budget must contain " + (str(sorted(data__budget__missing_keys)) + " properties"))
                data__budget_keys = set(data__budget.keys())
                if "relative_l2" in data__budget_keys:
                    data__budget_keys.remove("relative_l2")
                    data__budget__relativel2 = data__budget["relative_l2"]
                    if not isinstance(data__budget__relativel2, (int, float, Decimal)) or isinstance(data__budget__relativel2, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".budget.relative_l2 must be number")
                if "class_agreement" in data__budget_keys:
                    data__budget_keys.remove("class_agreement")
                    data__budget__classagreement = data__budget["class_agreement"]
                    if not isinstance(data__budget__classagreement, (int, float, Decimal)) or isinstance(data__budget__classagreement, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".budget.class_agreement must be number")
                if "conceded_margin" in data__budget_keys:
                    data__budget_keys.remove("conceded_margin")
                    data__budget__concededmargin = data__budget["conceded_margin"]
                    if not isinstance(data__budget__concededmargin, (int, float, Decimal)) or isinstance(data__budget__concededmargin, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".budget.conceded_margin must be number")
                if "confidence_error" in data__budget_keys:
                    data__budget_keys.remove("confidence_error")
                    data__budget__confidenceerror = data__budget["confidence_error"]
                    if not isinstance(data__budget__confidenceerror, (int, float, Decimal)) or isinstance(data__budget__confidenceerror, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".budget.confidence_error must be number")
                if "mask_iou" in data__budget_keys:
                    data__budget_keys.remove("mask_iou")
                    data__budget__maskiou = data__budget["mask_iou"]
                    if not isinstance(data__budget__maskiou, (int, float, Decimal)) or isinstance(data__budget__maskiou, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".budget.mask_iou must be number")
                if "score_error" in data__budget_keys:
                    data__budget_keys.remove("score_error")
                    data__budget__scoreerror = data__budget["score_error"]
                    if not isinstance(data__budget__scoreerror, (int, float, Decimal)) or isinstance(data__budget__scoreerror, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".budget.score_error must be number")
                if data__budget_keys:
                    raise SchemaError("" + (name_prefix or "data") + ".budget must not contain "+str(data__budget_keys)+" properties")
        if "frames" in data_keys:
            data_keys.remove("frames")
            data__frames = data["frames"]
            if not isinstance(data__frames, (list, tuple)):
                raise SchemaError("" + (name_prefix or "data") + ".frames must be array")
            data__frames_is_list = isinstance(data__frames, (list, tuple))
            if data__frames_is_list:
                data__frames_len = len(data__frames)
                if data__frames_len < 1:
                    raise SchemaError("" + (name_prefix or "data") + ".frames must contain at least 1 items")
                for data__frames_x, data__frames_item in enumerate(data__frames):
                    if not isinstance(data__frames_item, (dict)):
                        raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}]".format(**locals()) + " must be object")
                    data__frames_item_is_dict = isinstance(data__frames_item, dict)
                    if data__frames_item_is_dict:
                        data__frames_item__missing_keys = set(['frame', 'class_agreement', 'miou', 'conceded_margin', 'finite', 'relative_l2', 'max_error', 'cosine', 'confidence_error']) - data__frames_item.keys()
                        if data__frames_item__missing_keys:
                            raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}]".format(**locals()) + " must contain " + (str(sorted(data__frames_item__missing_keys)) + " properties"))
                        data__frames_item_keys = set(data__frames_item.keys())
                        if "frame" in data__frames_item_keys:
                            data__frames_item_keys.remove("frame")
                            data__frames_item__frame = data__frames_item["frame"]
                            if not isinstance(data__frames_item__frame, (str)):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].frame".format(**locals()) + " must be string")
                        if "class_agreement" in data__frames_item_keys:
                            data__frames_item_keys.remove("class_agreement")
                            data__frames_item__classagreement = data__frames_item["class_agreement"]
                            if not isinstance(data__frames_item__classagreement, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__classagreement, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].class_agreement".format(**locals()) + " must be number or null")
                        if "miou" in data__frames_item_keys:
                            data__frames_item_keys.remove("miou")
                            data__frames_item__miou = data__frames_item["miou"]
                            if not isinstance(data__frames_item__miou, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__miou, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].miou".format(**locals()) + " must be number or null")
                        if "conceded_margin" in data__frames_item_keys:
                            data__frames_item_keys.remove("conceded_margin")
                            data__frames_item__concededmargin = data__frames_item["conceded_margin"]
                            if not isinstance(data__frames_item__concededmargin, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__concededmargin, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].conceded_margin".format(**locals()) + " must be number or null")
                        if "finite" in data__frames_item_keys:
                            data__frames_item_keys.remove("finite")
                            data__frames_item__finite = data__frames_item["finite"]
                            if not isinstance(data__frames_item__finite, (bool)):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].finite".format(**locals()) + " must be boolean")
                        if "relative_l2" in data__frames_item_keys:
                            data__frames_item_keys.remove("relative_l2")
                            data__frames_item__relativel2 = data__frames_item["relative_l2"]
                            if not isinstance(data__frames_item__relativel2, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__relativel2, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].relative_l2".format(**locals()) + " must be number or null")
                        if "max_error" in data__frames_item_keys:
                            data__frames_item_keys.remove("max_error")
                            data__frames_item__maxerror = data__frames_item["max_error"]
                            if not isinstance(data__frames_item__maxerror, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__maxerror, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].max_error".format(**locals()) + " must be number or null")
                        if "cosine" in data__frames_item_keys:
                            data__frames_item_keys.remove("cosine")
                            data__frames_item__cosine = data__frames_item["cosine"]
                            if not isinstance(data__frames_item__cosine, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__cosine, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].cosine".format(**locals()) + " must be number or null")
                        if "confidence_error" in data__frames_item_keys:
                            data__frames_item_keys.remove("confidence_error")
                            data__frames_item__confidenceerror = data__frames_item["confidence_error"]
                            if not isinstance(data__frames_item__confidenceerror, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__confidenceerror, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].confidence_error".format(**locals()) + " must be number or null")
                        if "mask_iou" in data__frames_item_keys:
                            data__frames_item_keys.remove("mask_iou")
                            data__frames_item__maskiou = data__frames_item["mask_iou"]
                            if not isinstance(data__frames_item__maskiou, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__maskiou, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].mask_iou".format(**locals()) + " must be number or null")
                        if "score_error" in data__frames_item_keys:
                            data__frames_item_keys.remove("score_error")
                            data__frames_item__scoreerror = data__frames_item["score_error"]
                            if not isinstance(data__frames_item__scoreerror, (int, float, Decimal, NoneType)) or isinstance(data__frames_item__scoreerror, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}].score_error".format(**locals()) + " must be number or null")
                        if data__frames_item_keys:
                            raise SchemaError("" + (name_prefix or "data") + ".frames[{data__frames_x}]".format(**locals()) + " must not contain "+str(data__frames_item_keys)+" properties")
        if data_keys:
            raise SchemaError("" + (name_prefix or "data") + " must not contain "+str(data_keys)+" properties")
    return data

def validate___definitions_weights(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (dict)):
        raise SchemaError("" + (name_prefix or "data") + " must be object")
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['source', 'location', 'sha256']) - data.keys()
        if data__missing_keys:
            raise SchemaError("" + (name_prefix or "data") + " must contain " + (str(sorted(data__missing_keys)) + " properties"))
        data_keys = set(data.keys())
        if "source" in data_keys:
            data_keys.remove("source")
            data__source = data["source"]
            if not (isinstance(data__source, str) and data__source == 'official' or isinstance(data__source, str) and data__source == 'demo' or isinstance(data__source, str) and data__source == 'random' or isinstance(data__source, str) and data__source == 'path'):
                raise SchemaError("" + (name_prefix or "data") + ".source must be one of ['official', 'demo', 'random', 'path']")
        if "location" in data_keys:
            data_keys.remove("location")
            data__location = data["location"]
            if not isinstance(data__location, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".location must be string")
        if "sha256" in data_keys:
            data_keys.remove("sha256")
            data__sha256 = data["sha256"]
            validate___definitions_sha256(data__sha256, custom_formats, (name_prefix or "data") + ".sha256")
        if data_keys:
            raise SchemaError("" + (name_prefix or "data") + " must not contain "+str(data_keys)+" properties")
    return data

def validate___definitions_model(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (dict)):
        raise SchemaError("" + (name_prefix or "data") + " must be object")
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['name', 'task', 'dataset', 'classes']) - data.keys()
        if data__missing_keys:
            raise SchemaError("" + (name_prefix or "data") + " must contain " + (str(sorted(data__missing_keys)) + " properties"))
        data_keys = set(data.keys())
        if "name" in data_keys:
            data_keys.remove("name")
            data__name = data["name"]
            if not isinstance(data__name, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".name must be string")
        if "task" in data_keys:
            data_keys.remove("task")
            data__task = data["task"]
            if not (isinstance(data__task, str) and data__task == 'cls' or isinstance(data__task, str) and data__task == 'seg' or isinstance(data__task, str) and data__task == 'sam'):
                raise SchemaError("" + (name_prefix or "data") + ".task must be one of ['cls', 'seg', 'sam']")
        if "dataset" in data_keys:
            data_keys.remove("dataset")
            data__dataset = data["dataset"]
            if not (isinstance(data__dataset, str) and data__dataset == 'imagenet' or isinstance(data__dataset, str) and data__dataset == 'cityscapes' or isinstance(data__dataset, str) and data__dataset == 'ade20k' or isinstance(data__dataset, str) and data__dataset == 'sa-1b'):
                raise SchemaError("" + (name_prefix or "data") + ".dataset must be one of ['imagenet', 'cityscapes', 'ade20k', 'sa-1b']")
        if "classes" in data_keys:
            data_keys.remove("classes")
            data__classes = data["classes"]
            if not isinstance(data__classes, (int)) and not (isinstance(data__classes, float) and data__classes.is_integer()) or isinstance(data__classes, bool):
                raise SchemaError("" + (name_prefix or "data") + ".classes must be integer")
            if isinstance(data__classes, (int, float, Decimal)) and not isinstance(data__classes, bool):
                if data__classes < 1:
                    raise SchemaError("" + (name_prefix or "data") + ".classes must be bigger than or equal to 1")
        if data_keys:
            raise SchemaError("" + (name_prefix or "data") + " must not contain "+str(data_keys)+" properties")
    return data

def validate___definitions_sha256(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (str)):
        raise SchemaError("" + (name_prefix or "data") + " must be string")
    if isinstance(data, str):
        if not REGEX_PATTERNS['^[0-9a-f]{64}$'].search(data):
            raise SchemaError("" + (name_prefix or "data") + " must match pattern ^[0-9a-f]{64}$")
    return data

def validate___definitions_manifest(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (dict)):
        raise SchemaError("" + (name_prefix or "data") + " must be object")
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['schema', 'kind', 'key', 'created', 'tool', 'model', 'weights', 'graph', 'preprocess', 'agreement', 'engine', 'warnings', 'environment', 'files']) - data.keys()
        if data__missing_keys:
            raise SchemaError("" + (name_prefix or "data") + " must contain " + (str(sorted(data__missing_keys)) + " properties"))
        data_keys = set(data.keys())
        if "schema" in data_keys:
            data_keys.remove("schema")
            data__schema = data["schema"]
            if not (isinstance(data__schema, (int, float)) and not isinstance(data__schema, bool) and data__schema == 1):
                raise SchemaError("" + (name_prefix or "data") + ".schema must be one of [1]")
        if "kind" in data_keys:
            data_keys.remove("kind")
            data__kind = data["kind"]
            if not (isinstance(data__kind, str) and data__kind == 'export' or isinstance(data__kind, str) and data__kind == 'engine'):
                raise SchemaError("" + (name_prefix or "data") + ".kind must be one of ['export', 'engine']")
        if "key" in data_keys:
            data_keys.remove("key")
            data__key = data["key"]
            validate___definitions_sha256(data__key, custom_formats, (name_prefix or "data") + ".key")
        if "created" in data_keys:
            data_keys.remove("created")
            data__created = data["created"]
            if not isinstance(data__created, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".created must be string")
        if "tool" in data_keys:
            data_keys.remove("tool")
            data__tool = data["tool"]
            if not isinstance(data__tool, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".tool must be string")
        if "model" in data_keys:
            data_keys.remove("model")
            data__model = data["model"]
            validate___definitions_model(data__model, custom_formats, (name_prefix or "data") + ".model")
        if "weights" in data_keys:
            data_keys.remove("weights")
            data__weights = data["weights"]
            validate___definitions_weights(data__weights, custom_formats, (name_prefix or "data") + ".weights")
        if "graph" in data_keys:
            data_keys.remove("graph")
            data__graph = data["graph"]
            if not isinstance(data__graph, (dict)):
                raise SchemaError("" + (name_prefix or "data") + ".graph must be object")
            data__graph_is_dict = isinstance(data__graph, dict)
            if data__graph_is_dict:
                data__graph__missing_keys = set(['file', 'opset', 'precision', 'resolution', 'batch', 'input', 'output', 'inputs', 'outputs']) - data__graph.keys()
                if data__graph__missing_keys:
                    raise SchemaError("" + (name_prefix or "data") + ".graph must contain " + (str(sorted(data__graph__missing_keys)) + " properties"))
                data__graph_keys = set(data__graph.keys())
                if "file" in data__graph_keys:
                    data__graph_keys.remove("file")
                    data__graph__file = data__graph["file"]
                    if not isinstance(data__graph__file, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.file must be string")
                if "opset" in data__graph_keys:
                    data__graph_keys.remove("opset")
                    data__graph__opset = data__graph["opset"]
                    if not isinstance(data__graph__opset, (int)) and not (isinstance(data__graph__opset, float) and data__graph__opset.is_integer()) or isinstance(data__graph__opset, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.opset must be integer")
                    if isinstance(data__graph__opset, (int, float, Decimal)) and not isinstance(data__graph__opset, bool):
                        if data__graph__opset < 17:
                            raise SchemaError("" + (name_prefix or "data") + ".graph.opset must be bigger than or equal to 17")
                if "precision" in data__graph_keys:
                    data__graph_keys.remove("precision")
                    data__graph__precision = data__graph["precision"]
                    if not (isinstance(data__graph__precision, str) and data__graph__precision == 'fp32' or isinstance(data__graph__precision, str) and data__graph__precision == 'bf16' or isinstance(data__graph__precision, str) and data__graph__precision == 'fp16' or isinstance(data__graph__precision, str) and data__graph__precision == 'int8'):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.precision must be one of ['fp32', 'bf16', 'fp16', 'int8']")
                if "resolution" in data__graph_keys:
                    data__graph_keys.remove("resolution")
                    data__graph__resolution = data__graph["resolution"]
                    if not isinstance(data__graph__resolution, (list, tuple)):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.resolution must be array")
                    data__graph__resolution_is_list = isinstance(data__graph__resolution, (list, tuple))
                    if data__graph__resolution_is_list:
                        data__graph__resolution_len = len(data__graph__resolution)
                        if data__graph__resolution_len < 2:
                            raise SchemaError("" + (name_prefix or "data") + ".graph.resolution must contain at least 2 items")
                        if data__graph__resolution_len > 2:
                            raise SchemaError("" + (name_prefix or "data") + ".graph.resolution must contain less than or equal to 2 items")
                        for data__graph__resolution_x, data__graph__resolution_item in enumerate(data__graph__resolution):
                            if not isinstance(data__graph__resolution_item, (int)) and not (isinstance(data__graph__resolution_item, float) and data__graph__resolution_item.is_integer()) or isinstance(data__graph__resolution_item, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".graph.resolution[{data__graph__resolution_x}]".format(**locals()) + " must be integer")
                            if isinstance(data__graph__resolution_item, (int, float, Decimal)) and not isinstance(data__graph__resolution_item, bool):
                                if data__graph__resolution_item < 32:
                                    raise SchemaError("" + (name_prefix or "data") + ".graph.resolution[{data__graph__resolution_x}]".format(**locals()) + " must be bigger than or equal to 32")
                if "batch" in data__graph_keys:
                    data__graph_keys.remove("batch")
                    data__graph__batch = data__graph["batch"]
                    if not isinstance(data__graph__batch, (list, tuple)):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.batch must be array")
                    data__graph__batch_is_list = isinstance(data__graph__batch, (list, tuple))
                    if data__graph__batch_is_list:
                        data__graph__batch_len = len(data__graph__batch)
                        if data__graph__batch_len < 2:
                            raise SchemaError("" + (name_prefix or "data") + ".graph.batch must contain at least 2 items")
                        if data__graph__batch_len > 2:
                            raise SchemaError("" + (name_prefix or "data") + ".graph.batch must contain less than or equal to 2 items")
                        for data__graph__batch_x, data__graph__batch_item in enumerate(data__graph__batch):
                            if not isinstance(data__graph__batch_item, (int)) and not (isinstance(data__graph__batch_item, float) and data__graph__batch_item.is_integer()) or isinstance(data__graph__batch_item, bool):
                                raise SchemaError("" + (name_prefix or "data") + ".graph.batch[{data__graph__batch_x}]".format(**locals()) + " must be integer")
                            if isinstance(data__graph__batch_item, (int, float, Decimal)) and not isinstance(data__graph__batch_item, bool):
                                if data__graph__batch_item < 1:
                                    raise SchemaError("" + (name_prefix or "data") + ".graph.batch[{data__graph__batch_x}]".format(**locals()) + " must be bigger than or equal to 1")
                if "input" in data__graph_keys:
                    data__graph_keys.remove("input")
                    data__graph__input = data__graph["input"]
                    if not (isinstance(data__graph__input, str) and data__graph__input == 'image' or isinstance(data__graph__input, str) and data__graph__input == 'tensor' or isinstance(data__graph__input, str) and data__graph__input == 'prompts'):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.input must be one of ['image', 'tensor', 'prompts']")
                if "output" in data__graph_keys:
                    data__graph_keys.remove("output")
                    data__graph__output = data__graph["output"]
                    if not (isinstance(data__graph__output, str) and data__graph__output == 'classes' or isinstance(data__graph__output, str) and data__graph__output == 'confidence' or isinstance(data__graph__output, str) and data__graph__output == 'logits' or isinstance(data__graph__output, str) and data__graph__output == 'embedding' or isinstance(data__graph__output, str) and data__graph__output == 'masks' or isinstance(data__graph__output, str) and data__graph__output == 'pixels'):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.output must be one of ['classes', 'confidence', 'logits', 'embedding', 'masks', 'pixels']")
                if "inputs" in data__graph_keys:
                    data__graph_keys.remove("inputs")
                    data__graph__inputs = data__graph["inputs"]
                    if not isinstance(data__graph__inputs, (list, tuple)):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.inputs must be array")
                    data__graph__inputs_is_list = isinstance(data__graph__inputs, (list, tuple))
                    if data__graph__inputs_is_list:
                        data__graph__inputs_len = len(data__graph__inputs)
                        if data__graph__inputs_len < 1:
                            raise SchemaError("" + (name_prefix or "data") + ".graph.inputs must contain at least 1 items")
                        for data__graph__inputs_x, data__graph__inputs_item in enumerate(data__graph__inputs):
                            validate___definitions_tensor(data__graph__inputs_item, custom_formats, (name_prefix or "data") + ".graph.inputs[{data__graph__inputs_x}]".format(**locals()))
                if "outputs" in data__graph_keys:
                    data__graph_keys.remove("outputs")
                    data__graph__outputs = data__graph["outputs"]
                    if not isinstance(data__graph__outputs, (list, tuple)):
                        raise SchemaError("" + (name_prefix or "data") + ".graph.outputs must be array")
                    data__graph__outputs_is_list = isinstance(data__graph__outputs, (list, tuple))
                    if data__graph__outputs_is_list:
                        data__graph__outputs_len = len(data__graph__outputs)
                        if data__graph__outputs_len < 1:
                            raise SchemaError("" + (name_prefix or "data") + ".graph.outputs must contain at least 1 items")
                        for data__graph__outputs_x, data__graph__outputs_item in enumerate(data__graph__outputs):
                            validate___definitions_tensor(data__graph__outputs_item, custom_formats, (name_prefix or "data") + ".graph.outputs[{data__graph__outputs_x}]".format(**locals()))
                if data__graph_keys:
                    raise SchemaError("" + (name_prefix or "data") + ".graph must not contain "+str(data__graph_keys)+" properties")
        if "preprocess" in data_keys:
            data_keys.remove("preprocess")
            data__preprocess = data["preprocess"]
            if not isinstance(data__preprocess, (dict)):
                raise SchemaError("" + (name_prefix or "data") + ".preprocess must be object")
            data__preprocess_is_dict = isinstance(data__preprocess, dict)
            if data__preprocess_is_dict:
                data__preprocess__missing_keys = set(['colour', 'resize', 'kernel', 'crop_ratio', 'mean', 'std']) - data__preprocess.keys()
                if data__preprocess__missing_keys:
                    raise SchemaError("" + (name_prefix or "data") + ".preprocess must contain " + (str(sorted(data__preprocess__missing_keys)) + " properties"))
                data__preprocess_keys = set(data__preprocess.keys())
                if "colour" in data__preprocess_keys:
                    data__preprocess_keys.remove("colour")
                    data__preprocess__colour = data__preprocess["colour"]
                    if not (isinstance(data__preprocess__colour, str) and data__preprocess__colour == 'RGB'):
                        raise SchemaError("" + (name_prefix or "data") + ".preprocess.colour must be one of ['RGB']")
                if "resize" in data__preprocess_keys:
                    data__preprocess_keys.remove("resize")
                    data__preprocess__resize = data__preprocess["resize"]
                    if not (isinstance(data__preprocess__resize, str) and data__preprocess__resize == 'stretch' or isinstance(data__preprocess__resize, str) and data__preprocess__resize == 'short-side-crop' or isinstance(data__preprocess__resize, str) and data__preprocess__resize == 'longest-side'):
                        raise SchemaError("" + (name_prefix or "data") + ".preprocess.resize must be one of ['stretch', 'short-side-crop', 'longest-side']")
                if "kernel" in data__preprocess_keys:
                    data__preprocess_keys.remove("kernel")
                    data__preprocess__kernel = data__preprocess["kernel"]
                    if not (isinstance(data__preprocess__kernel, str) and data__preprocess__kernel == 'opencv-cubic' or isinstance(data__preprocess__kernel, str) and data__preprocess__kernel == 'pillow-bicubic' or isinstance(data__preprocess__kernel, str) and data__preprocess__kernel == 'pillow-bilinear'):
                        raise SchemaError("" + (name_prefix or "data") + ".preprocess.kernel must be one of ['opencv-cubic', 'pillow-bicubic', 'pillow-bilinear']")
                if "crop_ratio" in data__preprocess_keys:
                    data__preprocess_keys.remove("crop_ratio")
                    data__preprocess__cropratio = data__preprocess["crop_ratio"]
                    if not isinstance(data__preprocess__cropratio, (int, float, Decimal)) or isinstance(data__preprocess__cropratio, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".preprocess.crop_ratio must be number")
                    if isinstance(data__preprocess__cropratio, (int, float, Decimal)) and not isinstance(data__preprocess__cropratio, bool):
                        if data__preprocess__cropratio > 1:
                            raise SchemaError("" + (name_prefix or "data") + ".preprocess.crop_ratio must be smaller than or equal to 1")
                        if data__preprocess__cropratio <= 0:
                            raise SchemaError("" + (name_prefix or "data") + ".preprocess.crop_ratio must be bigger than 0")
                if "mean" in data__preprocess_keys:
                    data__preprocess_keys.remove("mean")
                    data__preprocess__mean = data__preprocess["mean"]
                    validate___definitions_triple(data__preprocess__mean, custom_formats, (name_prefix or "data") + ".preprocess.mean")
                if "std" in data__preprocess_keys:
                    data__preprocess_keys.remove("std")
                    data__preprocess__std = data__preprocess["std"]
                    validate___definitions_triple(data__preprocess__std, custom_formats, (name_prefix or "data") + ".preprocess.std")
                if data__preprocess_keys:
                    raise SchemaError("" + (name_prefix or "data") + ".preprocess must not contain "+str(data__preprocess_keys)+" properties")
        if "agreement" in data_keys:
            data_keys.remove("agreement")
            data__agreement = data["agreement"]
            validate___definitions_agreement(data__agreement, custom_formats, (name_prefix or "data") + ".agreement")
        if "engine" in data_keys:
            data_keys.remove("engine")
            data__engine = data["engine"]
            if not isinstance(data__engine, (dict, NoneType)):
                raise SchemaError("" + (name_prefix or "data") + ".engine must be object or null")
            data__engine_is_dict = isinstance(data__engine, dict)
            if data__engine_is_dict:
                data__engine__missing_keys = set(['target', 'precision', 'state', 'compiler', 'compiler_version', 'backend', 'entry', 'machine']) - data__engine.keys()
                if data__engine__missing_keys:
                    raise SchemaError("" + (name_prefix or "data") + ".engine must contain " + (str(sorted(data__engine__missing_keys)) + " properties"))
                data__engine_keys = set(data__engine.keys())
                if "target" in data__engine_keys:
                    data__engine_keys.remove("target")
                    data__engine__target = data__engine["target"]
                    if not isinstance(data__engine__target, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.target must be string")
                if "precision" in data__engine_keys:
                    data__engine_keys.remove("precision")
                    data__engine__precision = data__engine["precision"]
                    if not (isinstance(data__engine__precision, str) and data__engine__precision == 'fp32' or isinstance(data__engine__precision, str) and data__engine__precision == 'bf16' or isinstance(data__engine__precision, str) and data__engine__precision == 'fp16' or isinstance(data__engine__precision, str) and data__engine__precision == 'int8'):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.precision must be one of ['fp32', 'bf16', 'fp16', 'int8']")
                if "state" in data__engine_keys:
                    data__engine_keys.remove("state")
                    data__engine__state = data__engine["state"]
                    if not (isinstance(data__engine__state, str) and data__engine__state == 'lowered' or isinstance(data__engine__state, str) and data__engine__state == 'compiled'):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.state must be one of ['lowered', 'compiled']")
                if "compiler" in data__engine_keys:
                    data__engine_keys.remove("compiler")
                    data__engine__compiler = data__engine["compiler"]
                    if not isinstance(data__engine__compiler, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.compiler must be string")
                if "compiler_version" in data__engine_keys:
                    data__engine_keys.remove("compiler_version")
                    data__engine__compilerversion = data__engine["compiler_version"]
                    if not isinstance(data__engine__compilerversion, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.compiler_version must be string")
                if "backend" in data__engine_keys:
                    data__engine_keys.remove("backend")
                    data__engine__backend = data__engine["backend"]
                    if not isinstance(data__engine__backend, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.backend must be string")
                if "entry" in data__engine_keys:
                    data__engine_keys.remove("entry")
                    data__engine__entry = data__engine["entry"]
                    if not isinstance(data__engine__entry, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.entry must be string")
                if "machine" in data__engine_keys:
                    data__engine_keys.remove("machine")
                    data__engine__machine = data__engine["machine"]
                    if not isinstance(data__engine__machine, (dict)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.machine must be object")
                    data__engine__machine_is_dict = isinstance(data__engine__machine, dict)
                    if data__engine__machine_is_dict:
                        data__engine__machine_keys = set(data__engine__machine.keys())
                        for data__engine__machine_key in data__engine__machine_keys:
                            if data__engine__machine_key not in []:
                                data__engine__machine_value = data__engine__machine.get(data__engine__machine_key)
                                if not isinstance(data__engine__machine_value, (str)):
                                    raise SchemaError("" + (name_prefix or "data") + ".engine.machine.{data__engine__machine_key}".format(**locals()) + " must be string")
                if "attention" in data__engine_keys:
                    data__engine_keys.remove("attention")
                    data__engine__attention = data__engine["attention"]
                    if not isinstance(data__engine__attention, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.attention must be string")
                if "notes" in data__engine_keys:
                    data__engine_keys.remove("notes")
                    data__engine__notes = data__engine["notes"]
                    if not isinstance(data__engine__notes, (list, tuple)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.notes must be array")
                    data__engine__notes_is_list = isinstance(data__engine__notes, (list, tuple))
                    if data__engine__notes_is_list:
                        data__engine__notes_len = len(data__engine__notes)
                        for data__engine__notes_x, data__engine__notes_item in enumerate(data__engine__notes):
                            if not isinstance(data__engine__notes_item, (str)):
                                raise SchemaError("" + (name_prefix or "data") + ".engine.notes[{data__engine__notes_x}]".format(**locals()) + " must be string")
                if "lowered" in data__engine_keys:
                    data__engine_keys.remove("lowered")
                    data__engine__lowered = data__engine["lowered"]
                    if not isinstance(data__engine__lowered, (dict, NoneType)):
                        raise SchemaError("" + (name_prefix or "data") + ".engine.lowered must be object or null")
                    data__engine__lowered_is_dict = isinstance(data__engine__lowered, dict)
                    if data__engine__lowered_is_dict:
                        data__engine__lowered__missing_keys = set(['key', 'notes', 'agreement']) - data__engine__lowered.keys()
                        if data__engine__lowered__missing_keys:
                            raise SchemaError("" + (name_prefix or "data") + ".engine.lowered must contain " + (str(sorted(data__engine__lowered__missing_keys)) + " properties"))
                        data__engine__lowered_keys = set(data__engine__lowered.keys())
                        if "key" in data__engine__lowered_keys:
                            data__engine__lowered_keys.remove("key")
                            data__engine__lowered__key = data__engine__lowered["key"]
                            validate___definitions_sha256(data__engine__lowered__key, custom_formats, (name_prefix or "data") + ".engine.lowered.key")
                        if "notes" in data__engine__lowered_keys:
                            data__engine__lowered_keys.remove("notes")
                            data__engine__lowered__notes = data__engine__lowered["notes"]
                            if not isinstance(data__engine__lowered__notes, (list, tuple)):
                                raise SchemaError("" + (name_prefix or "data") + ".engine.lowered.notes must be array")
                            data__engine__lowered__notes_is_list = isinstance(data__engine__lowered__notes, (list, tuple))
                            if data__engine__lowered__notes_is_list:
                                data__engine__lowered__notes_len = len(data__engine__lowered__notes)
                                for data__engine__lowered__notes_x, data__engine__lowered__notes_item in enumerate(data__engine__lowered__notes):
                                    if not isinstance(data__engine__lowered__notes_item, (str)):
                                        raise SchemaError("" + (name_prefix or "data") + ".engine.lowered.notes[{data__engine__lowered__notes_x}]".format(**locals()) + " must be string")
                        if "agreement" in data__engine__lowered_keys:
                            data__engine__lowered_keys.remove("agreement")
                            data__engine__lowered__agreement = data__engine__lowered["agreement"]
                            validate___definitions_agreement(data__engine__lowered__agreement, custom_formats, (name_prefix or "data") + ".engine.lowered.agreement")
                        if data__engine__lowered_keys:
                            raise SchemaError("" + (name_prefix or "data") + ".engine.lowered must not contain "+str(data__engine__lowered_keys)+" properties")
                if "int8" in data__engine_keys:
                    data__engine_keys.remove("int8")
                    data__engine__int8 = data__engine["int8"]
                    validate___definitions_int8(data__engine__int8, custom_formats, (name_prefix or "data") + ".engine.int8")
                if data__engine_keys:
                    raise SchemaError("" + (name_prefix or "data") + ".engine must not contain "+str(data__engine_keys)+" properties")
        if "warnings" in data_keys:
            data_keys.remove("warnings")
            data__warnings = data["warnings"]
            if not isinstance(data__warnings, (list, tuple)):
                raise SchemaError("" + (name_prefix or "data") + ".warnings must be array")
            data__warnings_is_list = isinstance(data__warnings, (list, tuple))
            if data__warnings_is_list:
                data__warnings_len = len(data__warnings)
                for data__warnings_x, data__warnings_item in enumerate(data__warnings):
                    if not isinstance(data__warnings_item, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".warnings[{data__warnings_x}]".format(**locals()) + " must be string")
        if "environment" in data_keys:
            data_keys.remove("environment")
            data__environment = data["environment"]
            if not isinstance(data__environment, (dict)):
                raise SchemaError("" + (name_prefix or "data") + ".environment must be object")
            data__environment_is_dict = isinstance(data__environment, dict)
            if data__environment_is_dict:
                data__environment_keys = set(data__environment.keys())
                for data__environment_key in data__environment_keys:
                    if data__environment_key not in []:
                        data__environment_value = data__environment.get(data__environment_key)
                        if not isinstance(data__environment_value, (str)):
                            raise SchemaError("" + (name_prefix or "data") + ".environment.{data__environment_key}".format(**locals()) + " must be string")
        if "files" in data_keys:
            data_keys.remove("files")
            data__files = data["files"]
            if not isinstance(data__files, (dict)):
                raise SchemaError("" + (name_prefix or "data") + ".files must be object")
            data__files_is_dict = isinstance(data__files, dict)
            if data__files_is_dict:
                data__files_len = len(data__files)
                if data__files_len < 1:
                    raise SchemaError("" + (name_prefix or "data") + ".files must contain at least 1 properties")
                data__files_keys = set(data__files.keys())
                for data__files_key in data__files_keys:
                    if data__files_key not in []:
                        data__files_value = data__files.get(data__files_key)
                        if not isinstance(data__files_value, (dict)):
                            raise SchemaError("" + (name_prefix or "data") + ".files.{data__files_key}".format(**locals()) + " must be object")
                        data__files_value_is_dict = isinstance(data__files_value, dict)
                        if data__files_value_is_dict:
                            data__files_value__missing_keys = set(['sha256', 'bytes']) - data__files_value.keys()
                            if data__files_value__missing_keys:
                                raise SchemaError("" + (name_prefix or "data") + ".files.{data__files_key}".format(**locals()) + " must contain " + (str(sorted(data__files_value__missing_keys)) + " properties"))
                            data__files_value_keys = set(data__files_value.keys())
                            if "sha256" in data__files_value_keys:
                                data__files_value_keys.remove("sha256")
                                data__files_value__sha256 = data__files_value["sha256"]
                                validate___definitions_sha256(data__files_value__sha256, custom_formats, (name_prefix or "data") + ".files.{data__files_key}.sha256".format(**locals()))
                            if "bytes" in data__files_value_keys:
                                data__files_value_keys.remove("bytes")
                                data__files_value__bytes = data__files_value["bytes"]
                                if not isinstance(data__files_value__bytes, (int)) and not (isinstance(data__files_value__bytes, float) and data__files_value__bytes.is_integer()) or isinstance(data__files_value__bytes, bool):
                                    raise SchemaError("" + (name_prefix or "data") + ".files.{data__files_key}.bytes".format(**locals()) + " must be integer")
                                if isinstance(data__files_value__bytes, (int, float, Decimal)) and not isinstance(data__files_value__bytes, bool):
                                    if data__files_value__bytes < 0:
                                        raise SchemaError("" + (name_prefix or "data") + ".files.{data__files_key}.bytes".format(**locals()) + " must be bigger than or equal to 0")
                            if data__files_value_keys:
                                raise SchemaError("" + (name_prefix or "data") + ".files.{data__files_key}".format(**locals()) + " must not contain "+str(data__files_value_keys)+" properties")
        if data_keys:
            raise SchemaError("" + (name_prefix or "data") + " must not contain "+str(data_keys)+" properties")
    return data

def validate___definitions_int8(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (dict, NoneType)):
        raise SchemaError("" + (name_prefix or "data") + " must be object or null")
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['calibration', 'images', 'method', 'methods', 'judged', 'judged_frames', 'metric', 'max_drop', 'drop', 'agreement', 'error', 'oracle', 'fp16_ms', 'ms', 'ratio', 'ratio_low', 'ratio_high', 'mac_share', 'layers', 'eligible', 'complete', 'full', 'curve', 'sensitivity']) - data.keys()
        if data__missing_keys:
            raise SchemaError("" + (name_prefix or "data") + " must contain " + (str(sorted(data__missing_keys)) + " properties"))
        data_keys = set(data.keys())
        if "calibration" in data_keys:
            data_keys.remove("calibration")
            data__calibration = data["calibration"]
            if not isinstance(data__calibration, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".calibration must be string")
        if "images" in data_keys:
            data_keys.remove("images")
            data__images = data["images"]
            if not isinstance(data__images, (int)) and not (isinstance(data__images, float) and data__images.is_integer()) or isinstance(data__images, bool):
                raise SchemaError("" + (name_prefix or "data") + ".images must be integer")
            if isinstance(data__images, (int, float, Decimal)) and not isinstance(data__images, bool):
                if data__images < 1:
                    raise SchemaError("" + (name_prefix or "data") + ".images must be bigger than or equal to 1")
        if "method" in data_keys:
            data_keys.remove("method")
            data__method = data["method"]
            if not (isinstance(data__method, str) and data__method == 'auto' or isinstance(data__method, str) and data__method == 'min-max' or isinstance(data__method, str) and data__method == 'percentile' or isinstance(data__method, str) and data__method == 'entropy'):
                raise SchemaError("" + (name_prefix or "data") + ".method must be one of ['auto', 'min-max', 'percentile', 'entropy']")
        if "methods" in data_keys:
            data_keys.remove("methods")
            data__methods = data["methods"]
            if not isinstance(data__methods, (dict)):
                raise SchemaError("" + (name_prefix or "data") + ".methods must be object")
            data__methods_is_dict = isinstance(data__methods, dict)
            if data__methods_is_dict:
                data__methods_keys = set(data__methods.keys())
                for data__methods_key in data__methods_keys:
                    if data__methods_key not in []:
                        data__methods_value = data__methods.get(data__methods_key)
                        if not isinstance(data__methods_value, (int)) and not (isinstance(data__methods_value, float) and data__methods_value.is_integer()) or isinstance(data__methods_value, bool):
                            raise SchemaError("" + (name_prefix or "data") + ".methods.{data__methods_key}".format(**locals()) + " must be integer")
                        if isinstance(data__methods_value, (int, float, Decimal)) and not isinstance(data__methods_value, bool):
                            if data__methods_value < 0:
                                raise SchemaError("" + (name_prefix or "data") + ".methods.{data__methods_key}".format(**locals()) + " must be bigger than or equal to 0")
        if "judged" in data_keys:
            data_keys.remove("judged")
            data__judged = data["judged"]
            if not isinstance(data__judged, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".judged must be string")
        if "judged_frames" in data_keys:
            data_keys.remove("judged_frames")
            data__judgedframes = data["judged_frames"]
            if not isinstance(data__judgedframes, (int)) and not (isinstance(data__judgedframes, float) and data__judgedframes.is_integer()) or isinstance(data__judgedframes, bool):
                raise SchemaError("" + (name_prefix or "data") + ".judged_frames must be integer")
            if isinstance(data__judgedframes, (int, float, Decimal)) and not isinstance(data__judgedframes, bool):
                if data__judgedframes < 1:
                    raise SchemaError("" + (name_prefix or "data") + ".judged_frames must be bigger than or equal to 1")
        if "metric" in data_keys:
            data_keys.remove("metric")
            data__metric = data["metric"]
            if not (isinstance(data__metric, str) and data__metric == 'mIoU' or isinstance(data__metric, str) and data__metric == 'expected mIoU' or isinstance(data__metric, str) and data__metric == 'expected top-1' or isinstance(data__metric, str) and data__metric == 'mask IoU'):
                raise SchemaError("" + (name_prefix or "data") + ".metric must be one of ['mIoU', 'expected mIoU', 'expected top-1', 'mask IoU']")
        if "max_drop" in data_keys:
            data_keys.remove("max_drop")
            data__maxdrop = data["max_drop"]
            if not isinstance(data__maxdrop, (int, float, Decimal)) or isinstance(data__maxdrop, bool):
                raise SchemaError("" + (name_prefix or "data") + ".max_drop must be number")
            if isinstance(data__maxdrop, (int, float, Decimal)) and not isinstance(data__maxdrop, bool):
                if data__maxdrop < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".max_drop must be bigger than or equal to 0")
        if "drop" in data_keys:
            data_keys.remove("drop")
            data__drop = data["drop"]
            if not isinstance(data__drop, (int, float, Decimal)) or isinstance(data__drop, bool):
                raise SchemaError("" + (name_prefix or "data") + ".drop must be number")
        if "agreement" in data_keys:
            data_keys.remove("agreement")
            data__agreement = data["agreement"]
            if not isinstance(data__agreement, (int, float, Decimal)) or isinstance(data__agreement, bool):
                raise SchemaError("" + (name_prefix or "data") + ".agreement must be number")
            if isinstance(data__agreement, (int, float, Decimal)) and not isinstance(data__agreement, bool):
                if data__agreement < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".agreement must be bigger than or equal to 0")
                if data__agreement > 1:
                    raise SchemaError("" + (name_prefix or "data") + ".agreement must be smaller than or equal to 1")
        if "error" in data_keys:
            data_keys.remove("error")
            data__error = data["error"]
            if not isinstance(data__error, (int, float, Decimal)) or isinstance(data__error, bool):
                raise SchemaError("" + (name_prefix or "data") + ".error must be number")
            if isinstance(data__error, (int, float, Decimal)) and not isinstance(data__error, bool):
                if data__error < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".error must be bigger than or equal to 0")
        if "oracle" in data_keys:
            data_keys.remove("oracle")
            data__oracle = data["oracle"]
            if not isinstance(data__oracle, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".oracle must be string")
        if "fp16_ms" in data_keys:
            data_keys.remove("fp16_ms")
            data__fp16ms = data["fp16_ms"]
            if not isinstance(data__fp16ms, (int, float, Decimal)) or isinstance(data__fp16ms, bool):
                raise SchemaError("" + (name_prefix or "data") + ".fp16_ms must be number")
            if isinstance(data__fp16ms, (int, float, Decimal)) and not isinstance(data__fp16ms, bool):
                if data__fp16ms < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".fp16_ms must be bigger than or equal to 0")
        if "ms" in data_keys:
            data_keys.remove("ms")
            data__ms = data["ms"]
            if not isinstance(data__ms, (int, float, Decimal)) or isinstance(data__ms, bool):
                raise SchemaError("" + (name_prefix or "data") + ".ms must be number")
            if isinstance(data__ms, (int, float, Decimal)) and not isinstance(data__ms, bool):
                if data__ms < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".ms must be bigger than or equal to 0")
        if "ratio" in data_keys:
            data_keys.remove("ratio")
            data__ratio = data["ratio"]
            if not isinstance(data__ratio, (int, float, Decimal)) or isinstance(data__ratio, bool):
                raise SchemaError("" + (name_prefix or "data") + ".ratio must be number")
            if isinstance(data__ratio, (int, float, Decimal)) and not isinstance(data__ratio, bool):
                if data__ratio < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".ratio must be bigger than or equal to 0")
        if "ratio_low" in data_keys:
            data_keys.remove("ratio_low")
            data__ratiolow = data["ratio_low"]
            if not isinstance(data__ratiolow, (int, float, Decimal)) or isinstance(data__ratiolow, bool):
                raise SchemaError("" + (name_prefix or "data") + ".ratio_low must be number")
            if isinstance(data__ratiolow, (int, float, Decimal)) and not isinstance(data__ratiolow, bool):
                if data__ratiolow < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".ratio_low must be bigger than or equal to 0")
        if "ratio_high" in data_keys:
            data_keys.remove("ratio_high")
            data__ratiohigh = data["ratio_high"]
            if not isinstance(data__ratiohigh, (int, float, Decimal)) or isinstance(data__ratiohigh, bool):
                raise SchemaError("" + (name_prefix or "data") + ".ratio_high must be number")
            if isinstance(data__ratiohigh, (int, float, Decimal)) and not isinstance(data__ratiohigh, bool):
                if data__ratiohigh < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".ratio_high must be bigger than or equal to 0")
        if "mac_share" in data_keys:
            data_keys.remove("mac_share")
            data__macshare = data["mac_share"]
            if not isinstance(data__macshare, (int, float, Decimal)) or isinstance(data__macshare, bool):
                raise SchemaError("" + (name_prefix or "data") + ".mac_share must be number")
            if isinstance(data__macshare, (int, float, Decimal)) and not isinstance(data__macshare, bool):
                if data__macshare < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".mac_share must be bigger than or equal to 0")
                if data__macshare > 1:
                    raise SchemaError("" + (name_prefix or "data") + ".mac_share must be smaller than or equal to 1")
        if "layers" in data_keys:
            data_keys.remove("layers")
            data__layers = data["layers"]
            if not isinstance(data__layers, (list, tuple)):
                raise SchemaError("" + (name_prefix or "data") + ".layers must be array")
            data__layers_is_list = isinstance(data__layers, (list, tuple))
            if data__layers_is_list:
                data__layers_len = len(data__layers)
                for data__layers_x, data__layers_item in enumerate(data__layers):
                    if not isinstance(data__layers_item, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".layers[{data__layers_x}]".format(**locals()) + " must be string")
        if "eligible" in data_keys:
            data_keys.remove("eligible")
            data__eligible = data["eligible"]
            if not isinstance(data__eligible, (int)) and not (isinstance(data__eligible, float) and data__eligible.is_integer()) or isinstance(data__eligible, bool):
                raise SchemaError("" + (name_prefix or "data") + ".eligible must be integer")
            if isinstance(data__eligible, (int, float, Decimal)) and not isinstance(data__eligible, bool):
                if data__eligible < 1:
                    raise SchemaError("" + (name_prefix or "data") + ".eligible must be bigger than or equal to 1")
        if "complete" in data_keys:
            data_keys.remove("complete")
            data__complete = data["complete"]
            if not isinstance(data__complete, (bool)):
                raise SchemaError("" + (name_prefix or "data") + ".complete must be boolean")
        if "full" in data_keys:
            data_keys.remove("full")
            data__full = data["full"]
            validate___definitions_int8_point(data__full, custom_formats, (name_prefix or "data") + ".full")
        if "curve" in data_keys:
            data_keys.remove("curve")
            data__curve = data["curve"]
            if not isinstance(data__curve, (list, tuple)):
                raise SchemaError("" + (name_prefix or "data") + ".curve must be array")
            data__curve_is_list = isinstance(data__curve, (list, tuple))
            if data__curve_is_list:
                data__curve_len = len(data__curve)
                for data__curve_x, data__curve_item in enumerate(data__curve):
                    validate___definitions_int8_point(data__curve_item, custom_formats, (name_prefix or "data") + ".curve[{data__curve_x}]".format(**locals()))
        if "sensitivity" in data_keys:
            data_keys.remove("sensitivity")
            data__sensitivity = data["sensitivity"]
            if not isinstance(data__sensitivity, (dict)):
                raise SchemaError("" + (name_prefix or "data") + ".sensitivity must be object")
            data__sensitivity_is_dict = isinstance(data__sensitivity, dict)
            if data__sensitivity_is_dict:
                data__sensitivity_keys = set(data__sensitivity.keys())
                for data__sensitivity_key in data__sensitivity_keys:
                    if data__sensitivity_key not in []:
                        data__sensitivity_value = data__sensitivity.get(data__sensitivity_key)
                        if not isinstance(data__sensitivity_value, (int, float, Decimal)) or isinstance(data__sensitivity_value, bool):
                            raise SchemaError("" + (name_prefix or "data") + ".sensitivity.{data__sensitivity_key}".format(**locals()) + " must be number")
        if "warnings" in data_keys:
            data_keys.remove("warnings")
            data__warnings = data["warnings"]
            if not isinstance(data__warnings, (list, tuple)):
                raise SchemaError("" + (name_prefix or "data") + ".warnings must be array")
            data__warnings_is_list = isinstance(data__warnings, (list, tuple))
            if data__warnings_is_list:
                data__warnings_len = len(data__warnings)
                for data__warnings_x, data__warnings_item in enumerate(data__warnings):
                    if not isinstance(data__warnings_item, (str)):
                        raise SchemaError("" + (name_prefix or "data") + ".warnings[{data__warnings_x}]".format(**locals()) + " must be string")
        if "source" in data_keys:
            data_keys.remove("source")
            data__source = data["source"]
            if not isinstance(data__source, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".source must be string")
        if "max_error" in data_keys:
            data_keys.remove("max_error")
            data__maxerror = data["max_error"]
            if not isinstance(data__maxerror, (int, float, Decimal, NoneType)) or isinstance(data__maxerror, bool):
                raise SchemaError("" + (name_prefix or "data") + ".max_error must be number or null")
        if "spread" in data_keys:
            data_keys.remove("spread")
            data__spread = data["spread"]
            if not isinstance(data__spread, (int, float, Decimal)) or isinstance(data__spread, bool):
                raise SchemaError("" + (name_prefix or "data") + ".spread must be number")
            if isinstance(data__spread, (int, float, Decimal)) and not isinstance(data__spread, bool):
                if data__spread < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".spread must be bigger than or equal to 0")
        if data_keys:
            raise SchemaError("" + (name_prefix or "data") + " must not contain "+str(data_keys)+" properties")
    return data

def validate___definitions_int8_point(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (dict)):
        raise SchemaError("" + (name_prefix or "data") + " must be object")
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['layers', 'mac_share', 'ms', 'ratio', 'drop', 'error']) - data.keys()
        if data__missing_keys:
            raise SchemaError("" + (name_prefix or "data") + " must contain " + (str(sorted(data__missing_keys)) + " properties"))
        data_keys = set(data.keys())
        if "layers" in data_keys:
            data_keys.remove("layers")
            data__layers = data["layers"]
            if not isinstance(data__layers, (int)) and not (isinstance(data__layers, float) and data__layers.is_integer()) or isinstance(data__layers, bool):
                raise SchemaError("" + (name_prefix or "data") + ".layers must be integer")
            if isinstance(data__layers, (int, float, Decimal)) and not isinstance(data__layers, bool):
                if data__layers < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".layers must be bigger than or equal to 0")
        if "mac_share" in data_keys:
            data_keys.remove("mac_share")
            data__macshare = data["mac_share"]
            if not isinstance(data__macshare, (int, float, Decimal)) or isinstance(data__macshare, bool):
                raise SchemaError("" + (name_prefix or "data") + ".mac_share must be number")
            if isinstance(data__macshare, (int, float, Decimal)) and not isinstance(data__macshare, bool):
                if data__macshare < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".mac_share must be bigger than or equal to 0")
                if data__macshare > 1:
                    raise SchemaError("" + (name_prefix or "data") + ".mac_share must be smaller than or equal to 1")
        if "ms" in data_keys:
            data_keys.remove("ms")
            data__ms = data["ms"]
            if not isinstance(data__ms, (int, float, Decimal)) or isinstance(data__ms, bool):
                raise SchemaError("" + (name_prefix or "data") + ".ms must be number")
            if isinstance(data__ms, (int, float, Decimal)) and not isinstance(data__ms, bool):
                if data__ms < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".ms must be bigger than or equal to 0")
        if "ratio" in data_keys:
            data_keys.remove("ratio")
            data__ratio = data["ratio"]
            if not isinstance(data__ratio, (int, float, Decimal)) or isinstance(data__ratio, bool):
                raise SchemaError("" + (name_prefix or "data") + ".ratio must be number")
            if isinstance(data__ratio, (int, float, Decimal)) and not isinstance(data__ratio, bool):
                if data__ratio < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".ratio must be bigger than or equal to 0")
        if "drop" in data_keys:
            data_keys.remove("drop")
            data__drop = data["drop"]
            if not isinstance(data__drop, (int, float, Decimal)) or isinstance(data__drop, bool):
                raise SchemaError("" + (name_prefix or "data") + ".drop must be number")
        if "error" in data_keys:
            data_keys.remove("error")
            data__error = data["error"]
            if not isinstance(data__error, (int, float, Decimal)) or isinstance(data__error, bool):
                raise SchemaError("" + (name_prefix or "data") + ".error must be number")
            if isinstance(data__error, (int, float, Decimal)) and not isinstance(data__error, bool):
                if data__error < 0:
                    raise SchemaError("" + (name_prefix or "data") + ".error must be bigger than or equal to 0")
        if data_keys:
            raise SchemaError("" + (name_prefix or "data") + " must not contain "+str(data_keys)+" properties")
    return data

def validate___definitions_triple(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (list, tuple)):
        raise SchemaError("" + (name_prefix or "data") + " must be array")
    data_is_list = isinstance(data, (list, tuple))
    if data_is_list:
        data_len = len(data)
        if data_len < 3:
            raise SchemaError("" + (name_prefix or "data") + " must contain at least 3 items")
        if data_len > 3:
            raise SchemaError("" + (name_prefix or "data") + " must contain less than or equal to 3 items")
        for data_x, data_item in enumerate(data):
            if not isinstance(data_item, (int, float, Decimal)) or isinstance(data_item, bool):
                raise SchemaError("" + (name_prefix or "data") + "[{data_x}]".format(**locals()) + " must be number")
    return data

def validate___definitions_tensor(data, custom_formats={}, name_prefix=None):
    if not isinstance(data, (dict)):
        raise SchemaError("" + (name_prefix or "data") + " must be object")
    data_is_dict = isinstance(data, dict)
    if data_is_dict:
        data__missing_keys = set(['name', 'dtype', 'shape']) - data.keys()
        if data__missing_keys:
            raise SchemaError("" + (name_prefix or "data") + " must contain " + (str(sorted(data__missing_keys)) + " properties"))
        data_keys = set(data.keys())
        if "name" in data_keys:
            data_keys.remove("name")
            data__name = data["name"]
            if not isinstance(data__name, (str)):
                raise SchemaError("" + (name_prefix or "data") + ".name must be string")
        if "dtype" in data_keys:
            data_keys.remove("dtype")
            data__dtype = data["dtype"]
            if not (isinstance(data__dtype, str) and data__dtype == 'uint8' or isinstance(data__dtype, str) and data__dtype == 'int32' or isinstance(data__dtype, str) and data__dtype == 'int64' or isinstance(data__dtype, str) and data__dtype == 'float16' or isinstance(data__dtype, str) and data__dtype == 'float32'):
                raise SchemaError("" + (name_prefix or "data") + ".dtype must be one of ['uint8', 'int32', 'int64', 'float16', 'float32']")
        if "shape" in data_keys:
            data_keys.remove("shape")
            data__shape = data["shape"]
            if not isinstance(data__shape, (list, tuple)):
                raise SchemaError("" + (name_prefix or "data") + ".shape must be array")
            data__shape_is_list = isinstance(data__shape, (list, tuple))
            if data__shape_is_list:
                data__shape_len = len(data__shape)
                for data__shape_x, data__shape_item in enumerate(data__shape):
                    if not isinstance(data__shape_item, (int)) and not (isinstance(data__shape_item, float) and data__shape_item.is_integer()) or isinstance(data__shape_item, bool):
                        raise SchemaError("" + (name_prefix or "data") + ".shape[{data__shape_x}]".format(**locals()) + " must be integer")
                    if isinstance(data__shape_item, (int, float, Decimal)) and not isinstance(data__shape_item, bool):
                        if data__shape_item < -1:
                            raise SchemaError("" + (name_prefix or "data") + ".shape[{data__shape_x}]".format(**locals()) + " must be bigger than or equal to -1")
        if data_keys:
            raise SchemaError("" + (name_prefix or "data") + " must not contain "+str(data_keys)+" properties")
    return data


validate = validate___definitions_manifest

validate_bundle = validate___definitions_bundle
