"""The host keeps Slicer's rules: what Slicer refuses is refused here, so that a panel that works here is no accident."""

import pytest
import slicer
from host import pythonqt, start

UI = """<ui version="4.0"><class>Panel</class><widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout" name="rows">
<item><widget class="ctkCollapsibleButton" name="section"><property name="text"><string>Section</string></property>
<property name="collapsed"><bool>true</bool></property><layout class="QVBoxLayout" name="inner">
<item><widget class="QCheckBox" name="fast"><property name="SlicerParameterName" stdset="0"><string>fast</string></property></widget></item>
<item><widget class="qMRMLNodeComboBox" name="volume">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property><property name="showChildNodeTypes"><bool>false</bool></property>
<property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
</layout></widget></item>
<item><widget class="QLineEdit" name="path"><property name="SlicerParameterName" stdset="0"><string>path</string></property></widget></item>
</layout></widget><connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


@pytest.fixture
def qt(scene):
    start()
    import qt

    yield qt
    found, pythonqt.problems[:] = list(pythonqt.problems), []
    assert not found


@pytest.fixture
def panel(qt, scene, tmp_path):
    widget = _load(tmp_path, UI)
    widget.setMRMLScene(scene)
    return slicer.util.childWidgetVariables(widget)


@pytest.fixture
def parameters(qt, scene):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        fast: bool = True
        path: str = ""

    return Parameters


def _load(folder, text):
    (folder / "panel.ui").write_text(text)
    return slicer.util.loadUI(str(folder / "panel.ui"))


def test_properties_are_attributes(qt):
    button = qt.QPushButton("Go")
    button.text, button.enabled, button.name = "Stop", False, "go"
    button.resize(50, 20)
    assert (button.text, button.enabled, button.objectName, button.height) == ("Stop", False, "go", 20)


@pytest.mark.parametrize(("name", "value"), [("texts", "x"), ("text", 3), ("text", None), ("checked", "no"), ("width", 5), ("_mine", 1)])
def test_what_a_widget_does_not_have_or_take_can_not_be_set(qt, name, value):
    with pytest.raises(AttributeError, match=name):
        setattr(qt.QPushButton(), name, value)


def test_an_unknown_attribute_of_a_widget_can_not_be_read(qt):
    with pytest.raises(AttributeError, match="checkd"):
        _ = qt.QPushButton().checkd


def test_a_signal_is_connected_by_its_signature_and_arguments_a_slot_does_not_take_are_dropped(qt):
    button, heard = qt.QPushButton(), []
    button.connect("clicked(bool)", lambda: heard.append("clicked"))
    button.clicked.connect(lambda checked: heard.append(checked))
    button.click()
    assert heard == ["clicked", False]


@pytest.mark.parametrize(("signature", "slot"), [("clickd(bool)", print), ("clicked(QString)", print), ("clicked(bool)", "print")])
def test_a_bad_connection_is_an_error(qt, signature, slot):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        qt.QPushButton().connect(signature, slot)


def test_what_a_slot_raises_is_kept(qt):
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda: 1 // 0)
    button.click()
    assert len(pythonqt.problems) == 1
    assert "ZeroDivisionError" in pythonqt.problems.pop()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name="collapsed"', 'name="colapsed"'),
        ('class="QCheckBox"', 'class="ctkCheckBox"'),
        ("<slot>setMRMLScene(", "<slot>setScene("),
        ("<signal>mrml", "<signal>mmrl"),
        ("<receiver>volume", "<receiver>volumes"),
    ],
)
def test_a_misspelt_ui_file_is_an_error(qt, tmp_path, old, new):
    assert old in UI
    with pytest.raises((ValueError, AttributeError, KeyError)):
        _load(tmp_path, UI.replace(old, new))


def test_a_node_selector_follows_the_scene_and_leaves_out_children_of_its_types(panel, scene):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    volume.SetName("T1w")
    assert panel.volume.choices()[:2] == ["None", "T1w"]
    assert "labels" not in panel.volume.choices()
    panel.volume.choose("T1w")
    assert panel.volume.currentNode() is volume
    scene.RemoveNode(volume)
    assert panel.volume.currentNode() is None


def test_a_node_selector_makes_and_deletes_nodes(panel, scene):
    made = []
    panel.volume.connect("nodeAddedByUser(vtkMRMLNode*)", made.append)
    panel.volume.choose(next(text for text in panel.volume.choices() if text.startswith("Create new")))
    assert made == [panel.volume.currentNode()]
    panel.volume.choose(next(text for text in panel.volume.choices() if text.startswith("Delete")))
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_a_collapsed_section_hides_its_contents_but_not_what_was_shown_before(panel):
    panel.section.window().show()
    assert not panel.fast.visible
    panel.volume.visible = False
    panel.section.collapsed = False
    assert panel.fast.visible


def test_parameters_and_widgets_follow_each_other(panel, parameters, scene):
    wrapped = parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    tag = wrapped.connectGui(panel)
    assert panel.fast.checked
    wrapped.volume, wrapped.path = volume, "/weights"
    assert (panel.volume.currentNode(), panel.path.text) == (volume, "/weights")
    panel.fast.click()
    panel.volume.choose("None")
    assert (wrapped.fast, wrapped.volume) == (False, None)
    wrapped.disconnectGui(tag)
    panel.fast.click()
    assert wrapped.fast is False


def test_parameters_live_in_the_node(parameters, scene):
    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters(node).path = "/weights"
    assert (parameters(node).path, node.GetParameter("fast")) == ("/weights", "True")


@pytest.mark.parametrize(("name", "value"), [("fast", 1), ("path", None), ("volume", "vtkMRMLScalarVolumeNode1")])
def test_a_parameter_of_another_type_is_refused(parameters, scene, name, value):
    with pytest.raises(TypeError):
        setattr(parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")), name, value)


def test_a_widget_of_another_type_is_not_tied_to_a_parameter(qt, parameters, scene, tmp_path):
    swapped = UI.replace("<string>path</string>", "<string>?</string>").replace("<string>fast</string>", "<string>path</string>")
    ui = slicer.util.childWidgetVariables(_load(tmp_path, swapped.replace("<string>?</string>", "<string>fast</string>")))
    with pytest.raises(RuntimeError, match="cannot be tied"):
        parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")).connectGui(ui)


def test_a_message_box_never_waits(qt):
    import ctk

    box = ctk.ctkMessageBox()
    box.text = "Sure?"
    with pytest.raises(RuntimeError, match="Sure"):
        box.exec_()
